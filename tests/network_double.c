#include "network_double.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_model.h"

#define TENSOR_NAME 96

static double *doubles(size_t count)
{
    double *x = calloc(count, sizeof *x);
    if (x == NULL) abort();
    return x;
}

/* ---- Reading the file ------------------------------------------------------------------ */

typedef struct gguf_file {
    const void *data;
    size_t bytes;
} gguf_file;

static double *tensor(gguf_file f, const char *name, const char *rest, uint64_t ne[4])
{
    char full[TENSOR_NAME];
    snprintf(full, sizeof full, "%s%s", name, rest);
    return test_tensor_to_double(f.data, f.bytes, full, ne);
}

static double_linear linear_of(gguf_file f, const char *name)
{
    double_linear l = {NULL, NULL, 0, 0};
    uint64_t ne[4] = {0, 0, 0, 0};
    l.w = tensor(f, name, ".weight", ne);
    l.b = tensor(f, name, ".bias", NULL);
    l.in = (size_t)ne[0];
    l.out = (size_t)ne[1];
    return l;
}

static double_norm norm_of(gguf_file f, const char *name)
{
    double_norm n;
    n.w = tensor(f, name, ".weight", NULL);
    n.b = tensor(f, name, ".bias", NULL);
    return n;
}

static const char *block_name(char name[TENSOR_NAME], const char *prefix, size_t block,
                              const char *rest)
{
    snprintf(name, TENSOR_NAME, "%s.%u.%s", prefix, (unsigned)block, rest);
    return name;
}

static double_block block_of(gguf_file f, const char *prefix, size_t i, const char *attn_norm,
                             const char *ffn_norm, const char *o)
{
    double_block b;
    char n[TENSOR_NAME];
    b.attn_norm = norm_of(f, block_name(n, prefix, i, attn_norm));
    b.ffn_norm = norm_of(f, block_name(n, prefix, i, ffn_norm));
    b.q = linear_of(f, block_name(n, prefix, i, "attn_q"));
    b.k = linear_of(f, block_name(n, prefix, i, "attn_k"));
    b.v = linear_of(f, block_name(n, prefix, i, "attn_v"));
    b.o = linear_of(f, block_name(n, prefix, i, o));
    b.gate = linear_of(f, block_name(n, prefix, i, "ffn_gate"));
    b.up = linear_of(f, block_name(n, prefix, i, "ffn_up"));
    b.down = linear_of(f, block_name(n, prefix, i, "ffn_down"));
    if (b.up.in != b.q.in) { /* old mmproj files: the names are swapped */
        double_linear up = b.down;
        b.down = b.up;
        b.up = up;
    }
    return b;
}

static void free_linear(double_linear *l)
{
    free(l->w);
    free(l->b);
}

static void free_norm(double_norm *n)
{
    free(n->w);
    free(n->b);
}

static void free_blocks(double_block *blocks, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        double_block *b = &blocks[i];
        free_norm(&b->attn_norm), free_norm(&b->ffn_norm);
        free_linear(&b->q), free_linear(&b->k), free_linear(&b->v), free_linear(&b->o);
        free_linear(&b->gate), free_linear(&b->up), free_linear(&b->down);
    }
    free(blocks);
}

/* The number at key "prefix.name", or fallback. */
static double number_of(gguf_file f, const char *prefix, const char *name, double fallback)
{
    char key[TENSOR_NAME];
    snprintf(key, sizeof key, "%s.%s", prefix, name);
    test_key_to_double(f.data, f.bytes, key, 0, &fallback);
    return fallback;
}

static size_t size_of(gguf_file f, const char *prefix, const char *name, size_t fallback)
{
    return (size_t)number_of(f, prefix, name, (double)fallback);
}

/* ---- Formulas ---------------------------------------------------------------------------- */

/* y[t] = W x[t] + b */
static double *apply(const double_linear *l, const double *x, size_t rows)
{
    double *y = doubles(rows * l->out);
    size_t t, r, c;
    for (t = 0; t < rows; t++) {
        for (r = 0; r < l->out; r++) {
            const double *w = l->w + r * l->in, *xt = x + t * l->in;
            double sum = l->b != NULL ? l->b[r] : 0;
            for (c = 0; c < l->in; c++)
                sum += w[c] * xt[c];
            y[t * l->out + r] = sum;
        }
    }
    return y;
}

static void add(double *x, double *y, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        x[i] += y[i];
    free(y);
}

/* x / sqrt(mean of squares + eps) * w */
static double *rms_norm(const double_norm *n, const double *x, size_t rows, size_t width,
                        double eps)
{
    double *y = doubles(rows * width);
    size_t t, i;
    for (t = 0; t < rows; t++) {
        double squares = 0;
        for (i = 0; i < width; i++)
            squares += x[t * width + i] * x[t * width + i];
        for (i = 0; i < width; i++)
            y[t * width + i] = x[t * width + i] / sqrt(squares / (double)width + eps) * n->w[i];
    }
    return y;
}

/* (x - mean) / sqrt(variance + eps) * w + b */
static double *layer_norm(const double_norm *n, const double *x, size_t rows, size_t width,
                          double eps)
{
    double *y = doubles(rows * width);
    size_t t, i;
    for (t = 0; t < rows; t++) {
        const double *row = x + t * width;
        double mean = 0, variance = 0;
        for (i = 0; i < width; i++)
            mean += row[i] / (double)width;
        for (i = 0; i < width; i++)
            variance += (row[i] - mean) * (row[i] - mean) / (double)width;
        for (i = 0; i < width; i++)
            y[t * width + i] = (row[i] - mean) / sqrt(variance + eps) * n->w[i] + n->b[i];
    }
    return y;
}

static double gelu(double x)
{
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
}

static double silu(double x)
{
    return x / (1 + exp(-x));
}

static double quick_gelu(double x)
{
    return x / (1 + exp(-1.702 * x));
}

typedef struct attention {
    size_t rows, n_head, n_head_kv, head_dim;
    int causal;
    const double *q, *k, *v; /* [rows][n_head * head_dim], 2x [rows][n_head_kv * head_dim] */
} attention;

/* out = sum over keys of softmax(q . k / sqrt(head_dim)) v, for one head of one row */
static void attend(const attention *a, size_t t, size_t h, double *out)
{
    size_t d = a->head_dim, group = a->n_head / a->n_head_kv, kv = h / group, j, i;
    size_t keys = a->causal ? t + 1 : a->rows;
    const double *q = a->q + (t * a->n_head + h) * d;
    double *p = doubles(keys), most = -HUGE_VAL, total = 0;
    for (j = 0; j < keys; j++) {
        const double *k = a->k + (j * a->n_head_kv + kv) * d;
        for (i = 0; i < d; i++)
            p[j] += q[i] * k[i] / sqrt((double)d);
        most = fmax(most, p[j]);
    }
    for (j = 0; j < keys; j++)
        total += p[j] = exp(p[j] - most);
    for (j = 0; j < keys; j++)
        for (i = 0; i < d; i++)
            out[i] += p[j] / total * a->v[(j * a->n_head_kv + kv) * d + i];
    free(p);
}

static double *attend_all(const attention *a)
{
    double *out = doubles(a->rows * a->n_head * a->head_dim);
    size_t t, h;
    for (t = 0; t < a->rows; t++)
        for (h = 0; h < a->n_head; h++)
            attend(a, t, h, out + (t * a->n_head + h) * a->head_dim);
    return out;
}

/* ---- The language model -------------------------------------------------------------------- */

static void read_rope(double_llm *m, gguf_file f, const char *arch)
{
    double base = number_of(f, arch, "rope.freq_base", 10000), scale = 1;
    double *factors = tensor(f, "rope_freqs", ".weight", NULL);
    char key[TENSOR_NAME];
    size_t i;
    snprintf(key, sizeof key, "%s.rope.scaling.type", arch);
    if (test_key_is(f.data, f.bytes, key, "linear"))
        scale = number_of(f, arch, "rope.scaling.factor", 1);
    m->n_rot = size_of(f, arch, "rope.dimension_count", m->head_dim);
    m->rope = doubles(m->n_rot / 2);
    for (i = 0; i < m->n_rot / 2; i++) {
        m->rope[i] = pow(base, -2.0 * (double)i / (double)m->n_rot) / scale;
        if (factors != NULL) m->rope[i] /= factors[i];
    }
    free(factors);
}

void double_llm_open(double_llm *m, const void *file, size_t bytes)
{
    const char *arch;
    gguf_file f;
    size_t i;
    f.data = file;
    f.bytes = bytes;
    memset(m, 0, sizeof *m);
    m->halves = test_key_is(file, bytes, "general.architecture", "qwen2");
    arch = m->halves ? "qwen2" : "llama";
    m->n_embd = size_of(f, arch, "embedding_length", 0);
    m->n_layer = size_of(f, arch, "block_count", 0);
    m->n_head = size_of(f, arch, "attention.head_count", 0);
    m->n_head_kv = size_of(f, arch, "attention.head_count_kv", m->n_head);
    m->head_dim = size_of(f, arch, "attention.key_length", m->n_embd / m->n_head);
    m->eps = number_of(f, arch, "attention.layer_norm_rms_epsilon", 1e-5);
    read_rope(m, f, arch);
    m->embd = linear_of(f, "token_embd");
    m->n_vocab = m->embd.out;
    m->output = linear_of(f, "output");
    m->norm = norm_of(f, "output_norm");
    m->blocks = calloc(m->n_layer, sizeof *m->blocks);
    if (m->blocks == NULL) abort();
    for (i = 0; i < m->n_layer; i++)
        m->blocks[i] = block_of(f, "blk", i, "attn_norm", "ffn_norm", "attn_output");
}

void double_llm_close(double_llm *m)
{
    free(m->rope);
    free_linear(&m->embd);
    free_linear(&m->output);
    free_norm(&m->norm);
    free_blocks(m->blocks, m->n_layer);
}

void double_llm_token(const double_llm *m, int32_t token, double *x)
{
    memcpy(x, m->embd.w + (size_t)token * m->n_embd, m->n_embd * sizeof *x);
}

/* Turns every head of every row by its position. x: [rows][heads][head_dim] */
static void turn(const double_llm *m, double *x, size_t rows, size_t heads)
{
    size_t t, h, i;
    for (t = 0; t < rows; t++) {
        for (h = 0; h < heads; h++) {
            double *head = x + (t * heads + h) * m->head_dim;
            for (i = 0; i < m->n_rot / 2; i++) {
                double *a = m->halves ? head + i : head + 2 * i;
                double *b = m->halves ? head + i + m->n_rot / 2 : head + 2 * i + 1;
                double angle = (double)t * m->rope[i], c = cos(angle), s = sin(angle);
                double turned = *a * c - *b * s;
                *b = *a * s + *b * c;
                *a = turned;
            }
        }
    }
}

/* x += o(attention(norm(x))) */
static void llm_attention(const double_llm *m, const double_block *b, double *x, size_t rows)
{
    double *in = rms_norm(&b->attn_norm, x, rows, m->n_embd, m->eps), *out;
    double *q = apply(&b->q, in, rows), *k = apply(&b->k, in, rows);
    double *v = apply(&b->v, in, rows);
    attention a = {rows, m->n_head, m->n_head_kv, m->head_dim, 1, NULL, NULL, NULL};
    turn(m, q, rows, m->n_head);
    turn(m, k, rows, m->n_head_kv);
    a.q = q, a.k = k, a.v = v;
    out = attend_all(&a);
    add(x, apply(&b->o, out, rows), rows * m->n_embd);
    free(in), free(q), free(k), free(v), free(out);
}

/* x += down(silu(gate(norm(x))) * up(norm(x))) */
static void llm_feed_forward(const double_llm *m, const double_block *b, double *x, size_t rows)
{
    double *in = rms_norm(&b->ffn_norm, x, rows, m->n_embd, m->eps);
    double *gate = apply(&b->gate, in, rows), *up = apply(&b->up, in, rows);
    size_t i;
    for (i = 0; i < rows * b->up.out; i++)
        up[i] *= silu(gate[i]);
    add(x, apply(&b->down, up, rows), rows * m->n_embd);
    free(in), free(gate), free(up);
}

void double_llm_run(const double_llm *m, double *x, size_t count)
{
    double *last;
    size_t i;
    for (i = 0; i < m->n_layer; i++) {
        llm_attention(m, &m->blocks[i], x, count);
        llm_feed_forward(m, &m->blocks[i], x, count);
    }
    last = rms_norm(&m->norm, x, count, m->n_embd, m->eps);
    memcpy(x, last, count * m->n_embd * sizeof *x);
    free(last);
}

void double_llm_logits(const double_llm *m, const double *x, double *logits)
{
    double *y = apply(m->output.w != NULL ? &m->output : &m->embd, x, 1);
    memcpy(logits, y, m->n_vocab * sizeof *logits);
    free(y);
}

/* ---- The vision encoder and projector -------------------------------------------------------- */

static void read_projector(double_vision *m, gguf_file f)
{
    int lfm2 = test_key_is(f.data, f.bytes, "clip.projector_type", "lfm2");
    int idefics3 = test_key_is(f.data, f.bytes, "clip.projector_type", "idefics3");
    size_t tokens_side;
    m->merge = lfm2 || idefics3 ? size_of(f, "clip.vision.projector", "scale_factor", 2) : 1;
    tokens_side = (m->side + m->merge - 1) / m->merge;
    m->tokens = tokens_side * tokens_side;
    m->merged = norm_of(f, "mm.input_norm");
    m->first = linear_of(f, idefics3 ? "mm.model.fc" : lfm2 ? "mm.1" : "mm.0");
    memset(&m->second, 0, sizeof m->second);
    if (!idefics3) m->second = linear_of(f, "mm.2");
    m->n_embd = idefics3 ? m->first.out : m->second.out;
    /* LLaVA: the output of the last block but one, which CLIP files of an odd number have
     * left out already. */
    if (!lfm2 && !idefics3 && !(m->class_token && m->n_layer % 2)) m->n_layer--;
}

void double_vision_open(double_vision *m, const void *file, size_t bytes)
{
    static const char v[] = "clip.vision";
    gguf_file f;
    size_t i;
    f.data = file;
    f.bytes = bytes;
    memset(m, 0, sizeof *m);
    m->tile_px = size_of(f, v, "image_size", 0);
    m->patch_px = size_of(f, v, "patch_size", 0);
    m->side = m->tile_px / m->patch_px;
    m->width = size_of(f, v, "embedding_length", 0);
    m->n_head = size_of(f, v, "attention.head_count", 0);
    m->n_layer = size_of(f, v, "block_count", 0);
    m->eps = number_of(f, v, "attention.layer_norm_epsilon", 1e-6);
    for (i = 0; i < 3; i++) {
        m->mean[i] = m->std[i] = 0.5;
        test_key_to_double(file, bytes, "clip.vision.image_mean", i, &m->mean[i]);
        test_key_to_double(file, bytes, "clip.vision.image_std", i, &m->std[i]);
    }
    m->activation = number_of(f, "clip", "use_gelu", 0) != 0   ? 'g'
                    : number_of(f, "clip", "use_silu", 0) != 0 ? 's'
                                                               : 'q';
    m->class_embd = tensor(f, "v.class_embd", "", NULL);
    m->class_token = m->class_embd != NULL;
    read_projector(m, f);
    m->patch = linear_of(f, "v.patch_embd");
    m->patch.in = 3 * m->patch_px * m->patch_px;
    m->patch.out = m->width;
    m->positions = tensor(f, "v.position_embd", ".weight", NULL);
    m->pre = norm_of(f, "v.pre_ln");
    m->post = norm_of(f, "v.post_ln");
    m->blocks = calloc(m->n_layer, sizeof *m->blocks);
    if (m->blocks == NULL) abort();
    for (i = 0; i < m->n_layer; i++)
        m->blocks[i] = block_of(f, "v.blk", i, "ln1", "ln2", "attn_out");
}

void double_vision_close(double_vision *m)
{
    free_linear(&m->patch), free_linear(&m->first), free_linear(&m->second);
    free_norm(&m->pre), free_norm(&m->post), free_norm(&m->merged);
    free(m->class_embd);
    free(m->positions);
    free_blocks(m->blocks, m->n_layer);
}

/* Patches as rows of [3][patch][patch]; rows and columns that fill no patch are left. */
static double *cut_patches(const double_vision *m, const uint8_t *rgb)
{
    size_t n = m->patch_px, py, px, c, y, x;
    double *out = doubles(m->side * m->side * 3 * n * n), *at = out;
    for (py = 0; py < m->side; py++)
        for (px = 0; px < m->side; px++)
            for (c = 0; c < 3; c++)
                for (y = 0; y < n; y++)
                    for (x = 0; x < n; x++) {
                        size_t pixel = (py * n + y) * m->tile_px + px * n + x;
                        *at++ = (rgb[3 * pixel + c] / 255.0 - m->mean[c]) / m->std[c];
                    }
    return out;
}

/* Patches with their positions, the class embedding before them: [rows][width] */
static double *embed(const double_vision *m, const uint8_t *rgb)
{
    size_t patches = m->side * m->side, head = m->class_token ? m->width : 0, i;
    size_t count = head + patches * m->width;
    double *pixels = cut_patches(m, rgb), *embedded = apply(&m->patch, pixels, patches);
    double *x = doubles(count);
    if (head > 0) memcpy(x, m->class_embd, head * sizeof *x);
    memcpy(x + head, embedded, patches * m->width * sizeof *x);
    for (i = 0; i < count; i++)
        x[i] += m->positions[i];
    free(pixels), free(embedded);
    return x;
}

static void vision_block(const double_vision *m, const double_block *b, double *x, size_t rows)
{
    double *in = layer_norm(&b->attn_norm, x, rows, m->width, m->eps), *out, *hidden;
    double *q = apply(&b->q, in, rows), *k = apply(&b->k, in, rows);
    double *v = apply(&b->v, in, rows);
    attention a = {rows, m->n_head, m->n_head, m->width / m->n_head, 0, NULL, NULL, NULL};
    size_t i;
    a.q = q, a.k = k, a.v = v;
    out = attend_all(&a);
    add(x, apply(&b->o, out, rows), rows * m->width);
    free(in), free(q), free(k), free(v), free(out);

    in = layer_norm(&b->ffn_norm, x, rows, m->width, m->eps);
    hidden = apply(&b->up, in, rows);
    for (i = 0; i < rows * b->up.out; i++)
        hidden[i] = m->activation == 'g'   ? gelu(hidden[i])
                    : m->activation == 's' ? silu(hidden[i])
                                           : quick_gelu(hidden[i]);
    add(x, apply(&b->down, hidden, rows), rows * m->width);
    free(in), free(hidden);
}

/* Joins merge x merge neighbours, row by row; beyond the edge lie zeros.
 * [side^2][width] -> [tokens][merge^2 width] */
static double *join(const double_vision *m, const double *x)
{
    size_t n = m->merge, side = (m->side + n - 1) / n, ty, tx, dy, dx, i;
    double *out = doubles(m->tokens * n * n * m->width), *at = out;
    for (ty = 0; ty < side; ty++)
        for (tx = 0; tx < side; tx++)
            for (dy = 0; dy < n; dy++)
                for (dx = 0; dx < n; dx++) {
                    size_t py = ty * n + dy, px = tx * n + dx;
                    int inside = py < m->side && px < m->side;
                    for (i = 0; i < m->width; i++)
                        *at++ = inside ? x[(py * m->side + px) * m->width + i] : 0;
                }
    return out;
}

static void project(const double_vision *m, const double *x, double *tokens)
{
    double *joined = join(m, x), *normed = NULL, *hidden, *out = NULL;
    size_t i;
    if (m->merged.w != NULL)
        normed = layer_norm(&m->merged, joined, m->tokens, m->first.in, 1e-5);
    hidden = apply(&m->first, normed != NULL ? normed : joined, m->tokens);
    if (m->second.w != NULL) {
        for (i = 0; i < m->tokens * m->first.out; i++)
            hidden[i] = gelu(hidden[i]);
        out = apply(&m->second, hidden, m->tokens);
    }
    memcpy(tokens, out != NULL ? out : hidden, m->tokens * m->n_embd * sizeof *tokens);
    free(joined), free(normed), free(hidden), free(out);
}

void double_vision_run(const double_vision *m, const uint8_t *rgb, double *tokens)
{
    size_t rows = m->side * m->side + (m->class_token ? 1 : 0), i;
    double *x = embed(m, rgb);
    if (m->pre.w != NULL) {
        double *normed = layer_norm(&m->pre, x, rows, m->width, m->eps);
        free(x);
        x = normed;
    }
    for (i = 0; i < m->n_layer; i++)
        vision_block(m, &m->blocks[i], x, rows);
    if (m->post.w != NULL) {
        double *normed = layer_norm(&m->post, x, rows, m->width, m->eps);
        free(x);
        x = normed;
    }
    project(m, x + (m->class_token ? m->width : 0), tokens);
    free(x);
}
