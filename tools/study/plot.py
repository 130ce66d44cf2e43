"""Lines and bars as SVG: axes, ticks, labels with units, a legend; nothing else."""
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 680, 360, 72, 200, 40, 56
COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8a5a9e", "#d29922", "#5f6b76", "#2a9d8f")


def escape(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def step_of(span):
    """A step of 1, 2 or 5 times a power of ten that cuts the span into four to eight parts."""
    raw = span / 5 or 1
    power = 10 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw)


def number(value):
    return ("%.6g" % value) if abs(value) < 1e6 else "%g" % value


class Plot:
    """A page with a title and two axes; y begins at 0 unless told."""

    def __init__(self, title, x_label, y_label, xs, ys, y_from=0.0, log_x=False):
        self.log_x = log_x
        self.x0, self.x1 = min(xs), max(xs)
        self.y0, top = y_from, max(ys)
        step = step_of(top - y_from or 1)
        self.y1 = y_from + math.ceil((top - y_from) / step) * step or y_from + step
        self.parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">'
                      % (WIDTH, HEIGHT), '<rect width="%d" height="%d" fill="white"/>' % (WIDTH, HEIGHT)]
        self.text(LEFT, 22, title, size=14)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_label, "middle")
        self.parts.append('<text transform="translate(16 %d) rotate(-90)" text-anchor="middle">%s</text>'
                          % ((TOP + HEIGHT - BOTTOM) / 2, escape(y_label)))
        value = y_from
        while value <= self.y1 + step / 2:
            y = self.y(value)
            self.parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - RIGHT, y, y))
            self.text(LEFT - 6, y + 4, number(round(value, 10)), "end")
            value += step
        self.entries = 0

    def text(self, x, y, text, anchor="start", size=12):
        self.parts.append('<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>' % (x, y, anchor, size, escape(text)))

    def x(self, value):
        scale = math.log if self.log_x else float
        low, high = scale(self.x0), scale(self.x1)
        return LEFT + 12 + (scale(value) - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT - 24)

    def y(self, value):
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def legend(self, name, colour):
        y = TOP + 14 + 18 * self.entries
        self.parts.append('<rect x="%d" y="%d" width="12" height="12" fill="%s"/>' % (WIDTH - RIGHT + 12, y - 10, colour))
        self.text(WIDTH - RIGHT + 30, y, name)
        self.entries += 1

    def line(self, name, points):
        colour = COLOURS[self.entries % len(COLOURS)]
        at = " ".join("%.1f,%.1f" % (self.x(x), self.y(y)) for x, y in points)
        self.parts.append('<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>' % (at, colour))
        for x, y in points:
            self.parts.append('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (self.x(x), self.y(y), colour))
        self.legend(name, colour)

    def finish(self):
        self.parts.append('<path d="M%d %d V%d H%d" fill="none" stroke="black"/>' % (LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT))
        return "\n".join(self.parts + ["</svg>", ""])


def lines(title, x_label, y_label, series, y_from=0.0, log_x=False):
    """series: a list of (name, [(x, y)])."""
    xs = sorted({x for _, points in series for x, _ in points})
    plot = Plot(title, x_label, y_label, xs, [y for _, points in series for _, y in points], y_from, log_x)
    for x in xs if len(xs) <= 12 else xs[::2]:
        plot.text(plot.x(x), HEIGHT - BOTTOM + 16, number(x) if x >= 1e-3 else "0", "middle")
    for name, points in series:
        plot.line(name, points)
    return plot.finish()


def bars(title, x_label, y_label, groups, names):
    """groups: a list of (group, [value of each name])."""
    plot = Plot(title, x_label, y_label, [0, len(groups)], [v for _, values in groups for v in values if v is not None])
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    wide = room * 0.8 / len(names)
    for i, (group, values) in enumerate(groups):
        left = LEFT + room * (i + 0.1)
        plot.text(left + room * 0.4, HEIGHT - BOTTOM + 16, group, "middle")
        for j, value in enumerate(values):
            if value is None:
                continue
            y = plot.y(value)
            plot.parts.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>' % (
                left + j * wide, y, wide * 0.92, HEIGHT - BOTTOM - y, COLOURS[j % len(COLOURS)]))
    for j, name in enumerate(names):
        plot.legend(name, COLOURS[j % len(COLOURS)])
    return plot.finish()
