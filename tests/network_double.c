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
    static const char *const ends[] = {".input_min", ".input_max", ".output_min",
                                       ".output_max"};
    double_linear l = {NULL, NULL, 0, 0, 0, {0, 0, 0, 0}};
    uint64_t ne[4] = {0, 0, 0, 0};
    size_t i;
    l.w = tensor(f, name, ".weight", ne);
    l.b = tensor(f, name, ".bias", NULL);
    l.in = (size_t)ne[0];
    l.out = (size_t)ne[1];
    for (i = 0; i < 4; i++) {
        double *bound = tensor(f, name, ends[i], NULL);
        l.bounded |= bound != NULL;
        l.bounds[i] = bound != NULL ? *bound : i % 2 ? HUGE_VAL : -HUGE_VAL;
        free(bound);
    }
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
    b.qkv = linear_of(f, block_name(n, prefix, i, "attn_qkv"));
    b.scale1 = tensor(f, block_name(n, prefix, i, "ls1.weight"), "", NULL);
    b.scale2 = tensor(f, block_name(n, prefix, i, "ls2.weight"), "", NULL);
    b.q_norm = norm_of(f, block_name(n, prefix, i, "attn_q_norm"));
    b.k_norm = norm_of(f, block_name(n, prefix, i, "attn_k_norm"));
    b.mixed = norm_of(f, block_name(n, prefix, i, "attn_post_norm"));
    b.fed = norm_of(f, block_name(n, prefix, i, "ffn_post_norm"));
    if (b.up.in != b.o.out) { /* old mmproj files: the names are swapped */
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
        free_norm(&b->q_norm), free_norm(&b->k_norm), free_norm(&b->mixed), free_norm(&b->fed);
        free_linear(&b->q), free_linear(&b->k), free_linear(&b->v), free_linear(&b->o);
        free_linear(&b->gate), free_linear(&b->up), free_linear(&b->down);
        free_linear(&b->qkv), free(b->scale1), free(b->scale2);
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
static double within(double x, const double *bounds)
{
    return bounds == NULL ? x : x < bounds[0] ? bounds[0] : x > bounds[1] ? bounds[1] : x;
}

static double *apply(const double_linear *l, const double *x, size_t rows)
{
    const double *in = l->bounded ? l->bounds : NULL, *out = l->bounded ? l->bounds + 2 : NULL;
    double *y = doubles(rows * l->out);
    size_t t, r, c;
    for (t = 0; t < rows; t++) {
        for (r = 0; r < l->out; r++) {
            const double *w = l->w + r * l->in, *xt = x + t * l->in;
            double sum = l->b != NULL ? l->b[r] : 0;
            for (c = 0; c < l->in; c++)
                sum += w[c] * within(xt[c], in);
            y[t * l->out + r] = within(sum, out);
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
            y[t * width + i] =
                x[t * width + i] / sqrt(squares / (double)width + eps) * (n->w ? n->w[i] : 1);
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

static double gelu_erf(double x)
{
    return 0.5 * x * (1 + erf(x / sqrt(2)));
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
    const size_t *group;     /* [rows]: rows see their own group alone; NULL: all          */
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
        if (a->group != NULL && a->group[j] != a->group[t]) p[j] = -HUGE_VAL;
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
    attention a = {rows, m->n_head, m->n_head_kv, m->head_dim, 1, NULL, NULL, NULL, NULL};
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

/* What a name of clip.projector_type means. */
static const struct vision_kind {
    const char *name;
    const char *norm, *first, *second;
    int place, rope, erf_tower, erf_projector; /* rope: 'n' of neighbours, 'a' halves apart */
    size_t merge;                              /* without a key */
} vision_kinds[] = {
    {"mlp", NULL, "mm.0", "mm.2", 'r', 0, 0, 1, 1},
    {"lfm2", "mm.input_norm", "mm.1", "mm.2", 's', 0, 0, 0, 2},
    {"idefics3", NULL, "mm.model.fc", NULL, 'r', 0, 0, 0, 2},
    {"internvl", "mm.model.mlp.0", "mm.model.mlp.1", "mm.model.mlp.3", 'r', 0, 1, 1, 2},
    {"qwen2vl_merger", NULL, "mm.0", "mm.2", 'n', 1, 0, 1, 2},
    {"qwen2.5vl_merger", NULL, "mm.0", "mm.2", 'n', 1, 0, 1, 2},
    {"qwen2.5o", NULL, "mm.0", "mm.2", 'n', 1, 0, 1, 2},
    {"qwen3vl_merger", NULL, "mm.0", "mm.2", 'c', 1, 0, 1, 2},
    {"gemma3", "mm.soft_emb_norm", "mm.input_projection", NULL, 'r', 0, 0, 0, 4},
    {"pixtral", NULL, "mm.1", "mm.2", 'n', 'n', 1, 1, 1},
    {"lightonocr", NULL, "mm.1", "mm.2", 'n', 'n', 1, 1, 1},
    {"janus_pro", NULL, "mm.0", "mm.1", 'r', 0, 1, 1, 1},
    {"gemma4v", NULL, "mm.input_projection", NULL, 'x', 'a', 0, 0, 3},
    {"resampler", NULL, NULL, NULL, 'f', 0, 0, 0, 1},
    {"paddleocr", NULL, "mm.1", "mm.2", 'm', 1, 0, 1, 2},
    {"dots_ocr", NULL, "mm.0", "mm.2", 'n', 1, 0, 1, 2},
    {"minicpmv4_6", "mm.input_norm", "mm.up", "mm.down", 'f', 0, 0, 1, 2},
};

/* [in][out] in the file becomes [out][in]. */
static void transpose(double_linear *l)
{
    size_t in = l->out, out = l->in, r, c;
    double *w = doubles(in * out);
    for (r = 0; r < out; r++)
        for (c = 0; c < in; c++)
            w[r * in + c] = l->w[c * out + r];
    free(l->w);
    l->w = w;
    l->in = in;
    l->out = out;
}

/* Which layers are run, and which outputs the projector reads. */
static void read_features(double_vision *m, gguf_file f)
{
    double state;
    size_t most = 0;
    while (m->tap_count < 4 && test_key_to_double(f.data, f.bytes, "clip.vision.feature_layer",
                                                  m->tap_count, &state)) {
        if (state < 0) state += (double)m->n_layer + 1;
        m->taps[m->tap_count++] = (size_t)state;
        if ((size_t)state > most) most = (size_t)state;
    }
    if (m->tap_count > 0) {
        m->n_layer = most;
    } else if (!(m->class_token && m->n_layer % 2)) {
        /* LLaVA: the output of the last block but one, which CLIP files of an odd number have
         * left out already. */
        m->n_layer--;
    }
}

static void read_deepstack(double_vision *m, gguf_file f)
{
    char n[TENSOR_NAME];
    size_t i;
    for (i = 0; i < m->n_layer; i++) {
        double_deep *d = &m->deep[m->deep_count];
        d->norm = norm_of(f, block_name(n, "v.deepstack", i, "norm"));
        if (d->norm.w == NULL) continue;
        d->first = linear_of(f, block_name(n, "v.deepstack", i, "fc1"));
        d->second = linear_of(f, block_name(n, "v.deepstack", i, "fc2"));
        d->layer = i;
        m->deep_count++;
    }
}

static void read_resampler(double_vision *m, gguf_file f)
{
    double_resampler *s = &m->resampler;
    uint64_t ne[4] = {0, 0, 0, 0};
    s->query = tensor(f, "resampler.query", "", ne);
    s->queries = m->tokens = (size_t)ne[1];
    s->kv = linear_of(f, "resampler.kv");
    s->q = linear_of(f, "resampler.attn.q");
    s->k = linear_of(f, "resampler.attn.k");
    s->v = linear_of(f, "resampler.attn.v");
    s->o = linear_of(f, "resampler.attn.out");
    s->out = linear_of(f, "resampler.proj");
    s->query_norm = norm_of(f, "resampler.ln_q");
    s->kv_norm = norm_of(f, "resampler.ln_kv");
    s->out_norm = norm_of(f, "resampler.ln_post");
    m->n_embd = s->out.out;
}

static void read_joint(double_vision *m, gguf_file f)
{
    double_block *b = &m->joint.block;
    m->joint.there = 1;
    m->joint.layer = size_of(f, "clip.vision", "wa_layer_indexes", 0);
    b->attn_norm = norm_of(f, "v.vit_merger.ln1");
    b->q = linear_of(f, "v.vit_merger.attn_q");
    b->k = linear_of(f, "v.vit_merger.attn_k");
    b->v = linear_of(f, "v.vit_merger.attn_v");
    b->o = linear_of(f, "v.vit_merger.attn_out");
    b->ffn_norm = norm_of(f, "v.vit_merger.ds_ln");
    b->up = linear_of(f, "v.vit_merger.ds_ffn_up");
    b->down = linear_of(f, "v.vit_merger.ds_ffn_down");
    m->merge = 2; /* its key counts those that became one before */
    m->tokens = m->tile_px / m->patch_px / 4 * (m->tile_px / m->patch_px / 4);
    m->merged_eps = m->eps;
}

static void read_projector(double_vision *m, gguf_file f)
{
    static const char v[] = "clip.vision";
    const struct vision_kind *kind = &vision_kinds[0];
    size_t i, side;
    for (i = 0; i < sizeof vision_kinds / sizeof vision_kinds[0]; i++)
        if (test_key_is(f.data, f.bytes, "clip.projector_type", vision_kinds[i].name) ||
            test_key_is(f.data, f.bytes, "clip.vision.projector_type", vision_kinds[i].name))
            kind = &vision_kinds[i];
    m->merge = kind->merge;
    if (m->merge > 1) m->merge = size_of(f, v, "projector.scale_factor", m->merge);
    if (m->merge > 1 || kind->rope) m->merge = size_of(f, v, "spatial_merge_size", m->merge);
    side = (m->tile_px / m->patch_px + m->merge - 1) / m->merge;
    m->tokens = side * side;
    m->place = m->class_token && kind->place == 's' ? 'r' : kind->place;
    m->rope = kind->rope;
    m->projector_activation = kind->erf_projector ? 'e' : 't';
    if (m->place == 's' && m->tile_px == 256) m->projector_activation = 'e'; /* Liquid's */
    if (kind == &vision_kinds[0] && m->tile_px == 378)
        m->projector_activation = 't'; /* Moondream's */
    if (m->activation == 't' && kind->erf_tower) m->activation = 'e';
    m->window_pattern = size_of(f, v, "n_wa_pattern", 0);
    if (kind->norm != NULL) m->merged = norm_of(f, kind->norm);
    m->average = strcmp(kind->name, "gemma3") == 0 || m->rope == 'a';
    m->merged_eps = m->average ? m->eps : 1e-5;
    if (kind->first == NULL) {
        read_resampler(m, f);
        return;
    }
    if (strcmp(kind->name, "minicpmv4_6") == 0) read_joint(m, f);
    m->first = linear_of(f, kind->first);
    if (strcmp(kind->name, "gemma3") == 0) transpose(&m->first);
    m->shift = tensor(f, "v.std_bias", "", NULL);
    m->stretch = tensor(f, "v.std_scale", "", NULL);
    if (m->rope == 'a' && m->activation == 'q') m->activation = 't';
    for (i = 0; m->rope == 'a' && i < 3; i++) /* pixels from -1 to 1 */
        m->std[i] /= 2, m->mean[i] += m->std[i];
    if (kind->second != NULL) m->second = linear_of(f, kind->second);
    if (strcmp(kind->name, "paddleocr") == 0) m->last_eps = 1e-5;
    if (strcmp(kind->name, "dots_ocr") == 0) m->last_eps = 1e-6;
    m->n_embd = m->second.w == NULL ? m->first.out : m->second.out;
    if (kind == &vision_kinds[0]) read_features(m, f);
    read_deepstack(m, f);
}

void double_vision_open(double_vision *m, const void *file, size_t bytes)
{
    static const char v[] = "clip.vision";
    gguf_file f;
    uint64_t ne[4] = {0, 0, 0, 0};
    size_t i;
    f.data = file;
    f.bytes = bytes;
    memset(m, 0, sizeof *m);
    m->tile_px = size_of(f, v, "image_size", 0);
    m->patch_px = size_of(f, v, "patch_size", 0);
    m->width = size_of(f, v, "embedding_length", 0);
    m->n_head = size_of(f, v, "attention.head_count", 0);
    m->n_layer = size_of(f, v, "block_count", 0);
    m->eps = number_of(f, v, "attention.layer_norm_epsilon", 1e-6);
    for (i = 0; i < 3; i++) {
        m->mean[i] = m->std[i] = 0.5;
        test_key_to_double(file, bytes, "clip.vision.image_mean", i, &m->mean[i]);
        test_key_to_double(file, bytes, "clip.vision.image_std", i, &m->std[i]);
    }
    m->activation = number_of(f, "clip", "use_gelu", 0) != 0   ? 't'
                    : number_of(f, "clip", "use_silu", 0) != 0 ? 's'
                                                               : 'q';
    m->class_embd = tensor(f, "v.class_embd", "", NULL);
    m->class_token = m->class_embd != NULL;
    read_projector(m, f);
    m->patch = linear_of(f, "v.patch_embd");
    m->twin.w = tensor(f, "v.patch_embd.weight.1", "", NULL);
    m->patch.in = m->twin.in = 3 * m->patch_px * m->patch_px;
    m->patch.out = m->twin.out = m->width;
    m->positions = tensor(f, "v.position_embd", ".weight", ne);
    m->table_side = m->place == 'x' ? (size_t)ne[1] : (size_t)(sqrt((double)ne[1]) + 0.5);
    m->pre = norm_of(f, "v.pre_ln");
    m->post = norm_of(f, m->rope == 'n' ? "mm.input_norm" : "v.post_ln");
    if (m->post.w == NULL) m->post = norm_of(f, "mm.post_norm");
    if (m->last_eps > 0) m->last = norm_of(f, "mm.input_norm");
    if (m->rope == 'n') m->merger = linear_of(f, "mm.patch_merger");
    m->blocks = calloc(m->n_layer, sizeof *m->blocks);
    if (m->blocks == NULL) abort();
    for (i = 0; i < m->n_layer; i++)
        m->blocks[i] = block_of(f, "v.blk", i, "ln1", "ln2", "attn_out");
}

void double_vision_close(double_vision *m)
{
    size_t i;
    free_linear(&m->patch), free_linear(&m->twin);
    free_linear(&m->first), free_linear(&m->second), free_linear(&m->merger);
    free_linear(&m->resampler.kv), free_linear(&m->resampler.out);
    free_linear(&m->resampler.q), free_linear(&m->resampler.k);
    free_linear(&m->resampler.v), free_linear(&m->resampler.o);
    free_norm(&m->resampler.query_norm), free_norm(&m->resampler.kv_norm);
    free_norm(&m->resampler.out_norm), free(m->resampler.query);
    free_norm(&m->joint.block.attn_norm), free_norm(&m->joint.block.ffn_norm);
    free_linear(&m->joint.block.q), free_linear(&m->joint.block.k);
    free_linear(&m->joint.block.v), free_linear(&m->joint.block.o);
    free_linear(&m->joint.block.up), free_linear(&m->joint.block.down);
    free_norm(&m->pre), free_norm(&m->post), free_norm(&m->last), free_norm(&m->merged);
    for (i = 0; i < m->deep_count; i++) {
        free_norm(&m->deep[i].norm);
        free_linear(&m->deep[i].first), free_linear(&m->deep[i].second);
    }
    free(m->class_embd);
    free(m->positions), free(m->shift), free(m->stretch);
    free_blocks(m->blocks, m->n_layer);
}

/* A picture on its way. */
typedef struct frame {
    const double_vision *m;
    size_t columns, lines, width_px; /* of patches, row by row */
    size_t rows;                     /* and the class token    */
    double *x;                       /* [rows][width]          */
} frame;

static double activate(int kind, double x)
{
    return kind == 't'   ? gelu(x)
           : kind == 'e' ? gelu_erf(x)
           : kind == 's' ? silu(x)
                         : quick_gelu(x);
}

/* RMS norms have no bias. */
static double *either_norm(const double_norm *n, const double *x, size_t rows, size_t width,
                           double eps)
{
    return (n->b == NULL ? rms_norm : layer_norm)(n, x, rows, width, eps);
}

/* Patches as rows of [3][patch][patch]; rows and columns that fill no patch are left. */
static double *cut_patches(const frame *p, const uint8_t *rgb)
{
    size_t n = p->m->patch_px, py, px, c, y, x;
    double *out = doubles(p->lines * p->columns * 3 * n * n), *at = out;
    for (py = 0; py < p->lines; py++)
        for (px = 0; px < p->columns; px++)
            for (c = 0; c < 3; c++)
                for (y = 0; y < n; y++)
                    for (x = 0; x < n; x++) {
                        size_t pixel = (py * n + y) * p->width_px + px * n + x;
                        *at++ = (rgb[3 * pixel + c] / 255.0 - p->m->mean[c]) / p->m->std[c];
                    }
    return out;
}

/* How much of cell j of a table's side the i-th of n coordinates takes. */
static double share_of_cell(const double_vision *m, size_t n, size_t i, size_t j)
{
    double side = (double)m->table_side, reach = 1, at, sum = 0, own = 0;
    size_t k;
    if (m->place == 'c') {
        at = n > 1 ? (double)i * (side - 1) / (double)(n - 1) : 0;
    } else {
        at = ((double)i + 0.5) * side / (double)n - 0.5;
        if (m->place == 's') reach = fmax(1, side / (double)n);
    }
    for (k = 0; k < m->table_side; k++) {
        double weight = fmax(0, 1 - fabs((double)k - at) / reach);
        sum += weight;
        if (k == j) own = weight;
    }
    return own / sum;
}

/* x += the table's cells around the patch */
static void add_stretched(const frame *p, size_t py, size_t px, double *x)
{
    const double_vision *m = p->m;
    size_t j, i, c;
    for (j = 0; j < m->table_side; j++) {
        double down = share_of_cell(m, p->lines, py, j);
        for (i = 0; down > 0 && i < m->table_side; i++) {
            double weight = down * share_of_cell(m, p->columns, px, i);
            for (c = 0; c < m->width; c++)
                x[c] += weight * m->positions[(j * m->table_side + i) * m->width + c];
        }
    }
}

/* x += the rows of two tables, for the patch's column and its row */
static void add_axes(const frame *p, size_t py, size_t px, double *x)
{
    const double_vision *m = p->m;
    size_t c;
    for (c = 0; c < m->width; c++)
        x[c] +=
            m->positions[px * m->width + c] + m->positions[(m->table_side + py) * m->width + c];
}

/* Patches with their positions, the class embedding before them. */
static void embed(frame *p, const uint8_t *rgb)
{
    const double_vision *m = p->m;
    size_t patches = p->columns * p->lines, head = m->class_token ? m->width : 0, i;
    double *pixels = cut_patches(p, rgb), *embedded = apply(&m->patch, pixels, patches);
    if (m->twin.w != NULL) add(embedded, apply(&m->twin, pixels, patches), patches * m->width);
    p->x = doubles(p->rows * m->width);
    if (head > 0) memcpy(p->x, m->class_embd, head * sizeof *p->x);
    memcpy(p->x + head, embedded, patches * m->width * sizeof *p->x);
    for (i = 0; m->place == 'r' && i < p->rows * m->width; i++)
        p->x[i] += m->positions[i];
    for (i = 0; strchr("smc", m->place) != NULL && i < patches; i++)
        add_stretched(p, i / p->columns, i % p->columns, p->x + i * m->width);
    for (i = 0; m->place == 'x' && i < patches; i++)
        add_axes(p, i / p->columns, i % p->columns, p->x + i * m->width);
    for (i = 0; m->place == 'f' && i < patches; i++) {
        size_t down = i / p->columns * m->table_side / p->lines, c;
        size_t across = i % p->columns * m->table_side / p->columns;
        for (c = 0; c < m->width; c++)
            p->x[i * m->width + c] +=
                m->positions[(down * m->table_side + across) * m->width + c];
    }
    free(pixels), free(embedded);
}

/* Gemma 4 turns the halves of a head apart, by base 100: the pairs (i, i + d/4) of the first
 * by the patch's column, of the second by its row. */
static void turn_apart(const frame *p, double *x)
{
    const double_vision *m = p->m;
    size_t d = m->width / m->n_head, t, h, i, half;
    for (t = 0; t < p->columns * p->lines; t++)
        for (h = 0; h < 2 * m->n_head; h++)
            for (i = 0, half = h % 2; i < d / 4; i++) {
                double *a = x + t * m->width + h * (d / 2) + i, *b = a + d / 4;
                size_t at = half ? t / p->columns : t % p->columns;
                double angle = (double)at * pow(100, -4.0 * (double)i / (double)d);
                double turned = *a * cos(angle) - *b * sin(angle);
                *b = *a * sin(angle) + *b * cos(angle);
                *a = turned;
            }
}

/* Gemma 4's queries, keys and values: norms of heads, and queries that attention, which
 * divides them, gives back as they are. */
static void norm_heads(const frame *p, const double_block *b, double *qkv[3])
{
    const double_norm none = {NULL, NULL}, *const norms[3] = {&b->q_norm, &b->k_norm, &none};
    size_t d = p->m->width / p->m->n_head, which, i;
    for (which = 0; which < 3; which++) {
        double *normed =
            rms_norm(norms[which], qkv[which], p->rows * p->m->n_head, d, p->m->eps);
        free(qkv[which]);
        qkv[which] = normed;
    }
    for (i = 0; i < p->rows * p->m->width; i++)
        qkv[0][i] *= sqrt((double)d);
}

/* Turns the pairs (i, i + d/2) of every head: the first half of them by the patch's row, the
 * second by its column; or in Pixtral the pairs (2i, 2i + 1), those of columns slower by half a
 * step. */
static void turn_by_place(const frame *p, double *x)
{
    const double_vision *m = p->m;
    size_t d = m->width / m->n_head, t, h, i;
    for (t = 0; t < p->columns * p->lines; t++)
        for (h = 0; h < m->n_head; h++)
            for (i = 0; i < d / 2; i++) {
                int near = m->rope == 'n', by_column = i >= d / 4;
                double *a = x + t * m->width + h * d + (near ? 2 * i : i);
                double *b = near ? a + 1 : a + d / 2;
                size_t at = by_column ? t % p->columns : t / p->columns;
                double step = 4.0 * (double)(i % (d / 4)) + (near && by_column ? 2 : 0);
                double angle = (double)at * pow(10000, -step / (double)d);
                double turned = *a * cos(angle) - *b * sin(angle);
                *b = *a * sin(angle) + *b * cos(angle);
                *a = turned;
            }
}

/* Thirds of the fused rows, or three products. */
static void project_qkv(const double_block *b, const double *in, size_t rows, size_t width,
                        double *qkv[3])
{
    const double_linear *const three[3] = {&b->q, &b->k, &b->v};
    double *fused = b->qkv.w != NULL ? apply(&b->qkv, in, rows) : NULL;
    size_t which, t;
    for (which = 0; which < 3; which++) {
        qkv[which] = fused != NULL ? doubles(rows * width) : apply(three[which], in, rows);
        for (t = 0; fused != NULL && t < rows; t++)
            memcpy(qkv[which] + t * width, fused + (3 * t + which) * width,
                   width * sizeof *fused);
    }
    free(fused);
}

/* x += y * scale */
static void add_scaled(const frame *p, double *y, const double *scale)
{
    size_t i;
    for (i = 0; scale != NULL && i < p->rows * p->m->width; i++)
        y[i] *= scale[i % p->m->width];
    add(p->x, y, p->rows * p->m->width);
}

/* The window of each row: 4 x 4 tokens, those at the edges smaller. */
static size_t *windows_of(const frame *p)
{
    size_t *group = calloc(p->rows, sizeof *group), side = 4 * p->m->merge, t;
    if (group == NULL) abort();
    for (t = 0; t < p->rows; t++)
        group[t] = t / p->columns / side * p->columns + t % p->columns / side;
    return group;
}

/* y through a norm, where there is one */
static double *normed_behind(const frame *p, const double_norm *n, double *y)
{
    double *normed;
    if (n->w == NULL) return y;
    normed = rms_norm(n, y, p->rows, p->m->width, p->m->eps);
    free(y);
    return normed;
}

static void vision_block(const frame *p, size_t layer)
{
    const double_vision *m = p->m;
    const double_block *b = &m->blocks[layer];
    double *in = either_norm(&b->attn_norm, p->x, p->rows, m->width, m->eps), *out, *hidden;
    double *qkv[3], *gate = NULL;
    attention a = {p->rows, m->n_head, m->n_head, m->width / m->n_head, 0, NULL,
                   NULL,    NULL,      NULL};
    size_t i, *group = NULL;
    project_qkv(b, in, p->rows, m->width, qkv);
    if (m->rope == 'a') {
        norm_heads(p, b, qkv);
        turn_apart(p, qkv[0]), turn_apart(p, qkv[1]);
    } else if (m->rope) {
        turn_by_place(p, qkv[0]), turn_by_place(p, qkv[1]);
    }
    if (m->window_pattern != 0 && (layer + 1) % m->window_pattern != 0) group = windows_of(p);
    a.q = qkv[0], a.k = qkv[1], a.v = qkv[2], a.group = group;
    out = attend_all(&a);
    add_scaled(p, normed_behind(p, &b->mixed, apply(&b->o, out, p->rows)), b->scale1);
    free(in), free(qkv[0]), free(qkv[1]), free(qkv[2]), free(out), free(group);

    in = either_norm(&b->ffn_norm, p->x, p->rows, m->width, m->eps);
    hidden = apply(&b->up, in, p->rows);
    if (b->gate.w != NULL) gate = apply(&b->gate, in, p->rows);
    for (i = 0; i < p->rows * b->up.out; i++)
        hidden[i] = gate != NULL ? hidden[i] * activate(m->activation, gate[i])
                                 : activate(m->activation, hidden[i]);
    add_scaled(p, normed_behind(p, &b->fed, apply(&b->down, hidden, p->rows)), b->scale2);
    free(in), free(hidden), free(gate);
}

/* Joins merge x merge neighbours, row by row or for a merger channel by channel, or takes their
 * mean; beyond the edge lie zeros.
 * [patches][width] -> [tokens][merge^2 width], or [tokens][width] */
static double *join(const frame *p, const double *x, size_t width, int average)
{
    size_t n = p->m->merge, columns = (p->columns + n - 1) / n, lines = (p->lines + n - 1) / n;
    size_t count = average ? 1 : n * n, by_channel = p->m->merger.w != NULL, t, d, i;
    double *out = doubles(columns * lines * count * width);
    for (t = 0; t < columns * lines; t++)
        for (d = 0; d < n * n; d++) {
            size_t py = t / columns * n + d / n, px = t % columns * n + d % n;
            size_t step = by_channel ? count : 1;
            double *at = out + t * count * width + (average ? 0 : by_channel ? d : d * width);
            if (py >= p->lines || px >= p->columns) continue;
            for (i = 0; i < width; i++)
                at[i * step] +=
                    x[(py * p->columns + px) * width + i] / (average ? (double)(n * n) : 1);
        }
    return out;
}

/* Joined patches through a norm, one or two layers: [tokens][first or second .out] */
static double *project(const frame *p, const double *x, size_t width, const double_norm *norm,
                       double eps, const double_linear *first, const double_linear *second,
                       size_t tokens)
{
    const double_vision *m = p->m;
    double *joined = join(p, x, width, m->average), *hidden, *out;
    size_t i;
    for (i = 0; m->shift != NULL && i < tokens * width; i++)
        joined[i] =
            (joined[i] * sqrt((double)width) - m->shift[i % width]) * m->stretch[i % width];
    if (norm->w != NULL || m->rope == 'a') {
        double *normed = either_norm(norm, joined, tokens, first->in, eps);
        free(joined);
        joined = normed;
    }
    if (m->merger.w != NULL) {
        double *merged = apply(&m->merger, joined, tokens);
        free(joined);
        joined = merged;
    }
    hidden = apply(first, joined, tokens);
    free(joined);
    if (second->w == NULL) return hidden;
    for (i = 0; i < tokens * first->out; i++)
        hidden[i] = activate(m->projector_activation, hidden[i]);
    out = apply(second, hidden, tokens);
    free(hidden);
    return out;
}

/* Sines and cosines of a patch's column, then of its row, for each a quarter of the values. */
static void add_sines(const frame *p, double *x, size_t width)
{
    size_t t, i, quarter = width / 4;
    for (t = 0; t < p->columns * p->lines; t++)
        for (i = 0; i < width; i++) {
            double at = (double)(i < width / 2 ? t % p->columns : t / p->columns);
            double angle = at / pow(10000, (double)(i % quarter) / (double)quarter);
            x[t * width + i] += i / quarter % 2 == 0 ? sin(angle) : cos(angle);
        }
}

/* One head of one query over all patches: out [128]. */
static void attend_to_patches(const double *q, const double *k, const double *v, size_t patches,
                              size_t width, double *out)
{
    double *weights = doubles(patches), sum = 0;
    size_t t, i;
    for (t = 0; t < patches; t++) {
        for (i = 0; i < 128; i++)
            weights[t] += q[i] * k[t * width + i] / sqrt(128);
        sum += weights[t] = exp(weights[t]);
    }
    for (t = 0; t < patches; t++)
        for (i = 0; i < 128; i++)
            out[i] += weights[t] / sum * v[t * width + i];
    free(weights);
}

/* patches [columns * lines][width] -> [queries][n_embd] */
static double *resample(const frame *p, const double *patches)
{
    const double_resampler *s = &p->m->resampler;
    size_t n = p->columns * p->lines, width = s->q.in, t, h;
    double eps = p->m->eps, *kv = apply(&s->kv, patches, n);
    double *x = layer_norm(&s->kv_norm, kv, n, width, eps), *v = apply(&s->v, x, n), *k, *q;
    double *query = layer_norm(&s->query_norm, s->query, s->queries, width, eps), *seen, *out;
    add_sines(p, x, width);
    k = apply(&s->k, x, n);
    q = apply(&s->q, query, s->queries);
    free(query);
    seen = doubles(s->queries * width);
    for (t = 0; t < s->queries; t++)
        for (h = 0; h < width; h += 128)
            attend_to_patches(q + t * width + h, k + h, v + h, n, width, seen + t * width + h);
    free(kv), free(x), free(v), free(k), free(q);
    kv = apply(&s->o, seen, s->queries);
    x = layer_norm(&s->out_norm, kv, s->queries, width, eps);
    out = apply(&s->out, x, s->queries);
    free(kv), free(x), free(seen);
    return out;
}

/* Keeps hidden state `state` where the projector reads it. */
static void keep_state(const frame *p, size_t state, double *features)
{
    const double_vision *m = p->m;
    size_t tap, t, head = m->class_token ? 1 : 0;
    for (tap = 0; tap < m->tap_count; tap++)
        for (t = 0; m->taps[tap] == state && t < p->columns * p->lines; t++)
            memcpy(features + (t * m->tap_count + tap) * m->width, p->x + (t + head) * m->width,
                   m->width * sizeof *features);
}

static void norm_frame(frame *p, const double_norm *n, double eps)
{
    double *normed;
    if (n->w == NULL) return;
    normed = either_norm(n, p->x, p->rows, p->m->width, eps);
    free(p->x);
    p->x = normed;
}

/* Columns [part * n_embd, ...) of the tokens' rows. */
static void put_part(const double_vision *m, double *from, size_t part, size_t tokens,
                     double *rows)
{
    size_t t, row = m->n_embd * (1 + m->deep_count);
    for (t = 0; t < tokens; t++)
        memcpy(rows + t * row + part * m->n_embd, from + t * m->n_embd,
               m->n_embd * sizeof *rows);
    free(from);
}

/* Patches in the order of the fours that become one. */
static void order_by_fours(const frame *p, double *x)
{
    size_t width = p->m->width, t, i;
    double *from = doubles(p->rows * width);
    memcpy(from, x, p->rows * width * sizeof *x);
    for (t = 0; t < p->rows; t++) {
        size_t y = t / p->columns, column = t % p->columns;
        size_t four = y / 2 * (p->columns / 2) + column / 2;
        size_t place = 4 * four + y % 2 * 2 + column % 2;
        for (i = 0; i < width; i++)
            x[place * width + i] = from[t * width + i];
    }
    free(from);
}

static void join_patches(frame *p)
{
    const double_vision *m = p->m;
    const double_block *b = &m->joint.block;
    size_t width = m->width, fours = p->rows / 4, *group = calloc(p->rows, sizeof *group), t, i;
    double *in = layer_norm(&b->attn_norm, p->x, p->rows, width, m->eps), *qkv[3], *out,
           *hidden;
    attention a = {p->rows, m->n_head, m->n_head, width / m->n_head, 0, NULL, NULL, NULL, NULL};
    if (group == NULL) abort();
    for (t = 0; t < p->rows; t++)
        group[t] = t / p->columns / 2 * p->columns + t % p->columns / 2;
    project_qkv(b, in, p->rows, width, qkv);
    a.q = qkv[0], a.k = qkv[1], a.v = qkv[2], a.group = group;
    out = attend_all(&a);
    add(p->x, apply(&b->o, out, p->rows), p->rows * width);
    free(in), free(qkv[0]), free(qkv[1]), free(qkv[2]), free(out), free(group);

    order_by_fours(p, p->x);
    in = layer_norm(&b->ffn_norm, p->x, fours, 4 * width, m->eps);
    hidden = apply(&b->up, in, fours);
    for (i = 0; i < fours * b->up.out; i++)
        hidden[i] = activate(m->activation, hidden[i]);
    out = apply(&b->down, hidden, fours);
    for (t = 0; t < fours; t++)
        for (i = 0; i < 4 * width; i++)
            out[t * width + i % width] += p->x[t * 4 * width + i] / 4;
    free(in), free(hidden), free(p->x);
    p->x = out;
    p->columns /= 2, p->lines /= 2, p->rows = fours;
}

void double_vision_picture(const double_vision *m, const uint8_t *rgb, size_t width_px,
                           size_t height_px, double *tokens)
{
    size_t n = m->merge, count, i, deep = 0;
    double *features, *patches;
    frame p;
    p.m = m;
    p.columns = width_px / m->patch_px;
    p.lines = height_px / m->patch_px;
    p.width_px = width_px;
    p.rows = p.columns * p.lines + (m->class_token ? 1 : 0);
    if (m->joint.there) n *= 2;
    count = (p.columns + n - 1) / n * ((p.lines + n - 1) / n);
    features = doubles(p.rows * m->width * (m->tap_count + 1));
    embed(&p, rgb);
    norm_frame(&p, &m->pre, m->eps);
    keep_state(&p, 0, features);
    for (i = 0; i < m->n_layer; i++) {
        vision_block(&p, i);
        keep_state(&p, i + 1, features);
        if (m->joint.there && m->joint.layer == i) join_patches(&p);
        if (deep < m->deep_count && m->deep[deep].layer == i) {
            const double_deep *d = &m->deep[deep++];
            put_part(m,
                     project(&p, p.x, m->width, &d->norm, m->eps, &d->first, &d->second, count),
                     deep, count, tokens);
        }
    }
    if (m->tap_count == 0) norm_frame(&p, &m->post, m->eps);
    norm_frame(&p, &m->last, m->last_eps);
    patches = m->tap_count > 0 ? features : p.x + (m->class_token ? m->width : 0);
    if (m->resampler.queries > 0)
        put_part(m, resample(&p, patches), 0, m->resampler.queries, tokens);
    else
        put_part(m,
                 project(&p, patches, m->width * (m->tap_count > 0 ? m->tap_count : 1),
                         &m->merged, m->merged_eps, &m->first, &m->second, count),
                 0, count, tokens);
    free(features), free(p.x);
}

void double_vision_run(const double_vision *m, const uint8_t *rgb, double *tokens)
{
    double_vision_picture(m, rgb, m->tile_px, m->tile_px, tokens);
}
