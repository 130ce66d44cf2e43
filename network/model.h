/* A language model as plain data. A block is
 *
 *   x += scale * norm?(mixer(norm(x)));  x += scale * norm?(down(act(gate y) * up y)), y = norm(x)
 *
 * or, where both parts read the same, y is what the mixer read; without a gate, act(up y).
 * What differs between families, and between the layers of one, is in these structs. */
#ifndef BLM_MODEL_H
#define BLM_MODEL_H

#include "../base/tensor.h"

#define BLM_MAX_TAPS 8 /* of a convolution */

typedef enum blm_mixer {
    BLM_MIX_ATTENTION,
    BLM_MIX_CONVOLUTION, /* c * convolution(b * v), where b, c, v are projections */
    BLM_MIX_DELTA        /* Gated DeltaNet                                         */
} blm_mixer;

/* Every head's vector is [q], or [q | gate] in a gated model. */
typedef struct blm_attention {
    blm_tensor q, k, v, o;             /* [n_head*head, n_embd], 2x [n_kv*head, n_embd], .. */
                                       /* k.data NULL: reads what an earlier layer stored  */
    blm_vector q_bias, k_bias, v_bias; /* data NULL without                             */
    blm_vector o_bias;                 /* the same                                      */
    blm_vector q_norm, k_norm;         /* [head]; data NULL without                     */
} blm_attention;

typedef struct blm_convolution {
    blm_tensor in;   /* [3*n_embd, n_embd]: b, c, v    */
    blm_tensor taps; /* [channels][taps] f32, newest last */
    blm_tensor out;  /* [n_embd, n_embd]               */
} blm_convolution;

typedef struct blm_delta {
    blm_tensor qkv;  /* [channels, n_embd]: k_heads of q, of k, v_heads of v, each state_dim */
    blm_tensor gate; /* [v_heads*state_dim, n_embd]    */
    blm_tensor beta, alpha; /* [v_heads, n_embd]              */
    blm_tensor taps;        /* [channels][taps] f32           */
    blm_vector step, decay; /* [v_heads]                      */
    blm_vector norm;        /* [state_dim]                    */
    blm_tensor out;         /* [n_embd, v_heads*state_dim]    */
} blm_delta;

typedef struct blm_layer { /* one block; all tensors point into the GGUF */
    blm_mixer mixer;
    uint32_t ordinal;         /* among the layers that keep the same kind of state           */
    uint32_t windowed;        /* attention: sees model.window tokens back, itself included   */
    uint32_t rope;            /* which of the model's tables of frequencies                  */
    uint32_t head_dim, n_rot; /* attention: of a head, and how many of them turn           */
    uint32_t n_ff;
    blm_vector attn_norm, mixed_norm; /* [n_embd]; the latter's data NULL without       */
    blm_vector attn_norm_bias;        /* then it is a LayerNorm; or data NULL           */
    blm_vector ffn_norm; /* or data NULL: the feed-forward reads what the mixer read     */
    blm_vector fed_norm; /* or data NULL                                                 */
    blm_tensor gate, up, down; /* [n_ff, n_embd] x2, [n_embd, n_ff]; gate's data NULL where
                                 the model is ungated                                      */
    blm_vector gate_bias, up_bias, down_bias; /* data NULL without                      */
    float scale; /* of what the layer gives: 1 but where the file has one  */
    union {
        blm_attention attention;
        blm_convolution convolution;
        blm_delta delta;
    } mix;
} blm_layer;

/* What a layer does with embeddings of its own: x += norm(up(gelu(gate x) * embedding)) */
typedef struct blm_own {
    blm_tensor gate, up; /* [n_own, n_embd], [n_embd, n_own] */
    blm_vector norm;     /* [n_embd]                         */
} blm_own;

typedef struct blm_language {
    const char *architecture; /* the family's name */
    uint32_t n_embd, n_layer, n_head, n_head_kv, n_vocab;
    uint32_t head_dim, n_ff;  /* the most of any layer                                 */
    uint32_t window_head_dim; /* of windowed layers                                    */
    uint32_t trained_context_tokens;
    float norm_eps;

    uint32_t n_rot, rope_halves; /* values of a head that turn; in halves or neighbours */
    uint32_t window_n_rot;       /* of windowed layers                                  */
    uint32_t n_rope;             /* tables of frequencies                               */
    double *rope_frequency;      /* [n_rope][n_rot / 2]: radians per position           */
    double *rope_long_frequency; /* [n_rot / 2]: in contexts beyond the original; or NULL */
    uint32_t original_context_tokens; /* before RoPE was stretched                      */
    uint8_t *rope_axis;               /* [n_rot / 2] of blm_position, or NULL: all t         */
    float rope_magnitude;             /* of what was turned                                  */
    int planar;                       /* pictures lie in a plane of positions                */
    int two_way;    /* the tokens of a picture see each other: it must lie in one chunk */
    int first_sees; /* and the first token sees the picture right behind it: it is read again
                       with what follows it                                                */
    uint32_t n_deepstack; /* an image row is [n_embd * (1 + n_deepstack)]               */

    int gated;            /* attention: heads of [q | gate]                             */
    int gelu;             /* feed-forward: tanh GELU in place of SiLU                   */
    int ungated;          /* feed-forward: without gates                                */
    int value_norm;       /* attention: each head's value is normed, without weights    */
    float token_scale;    /* of embeddings of tokens                                    */
    float image_scale;    /* of rows of pictures                                        */
    float residual_scale; /* of what a block adds                                       */
    float attention_scale;
    float logit_scale; /* logits are divided by it */
    float logit_cap;   /* then bent to lie within +-it; 0: not                          */
    /* Queries grow with the position: by temperature * log(1 + position / temperature_tokens),
     * the quotient rounded down; temperature_tokens 0: not. */
    float temperature;
    uint32_t temperature_tokens;

    uint32_t window;         /* tokens that windowed layers see, 0 without                  */
    uint32_t taps, channels; /* of convolutions, 0 without                          */
    uint32_t k_heads, v_heads, state_dim; /* of the delta net, 0 without            */
    uint32_t n_context, n_window, n_convolution, n_delta; /* layers by kind of state */
    uint32_t n_storing; /* layers from this one on store nothing: they read what others did */

    /* Each layer may have embeddings of its own: rows of n_own values a layer, with what
     * own_proj makes of the token's embedding. */
    uint32_t n_own;      /* 0: there are none                  */
    blm_own *own;        /* [n_layer] or NULL                  */
    blm_tensor own_embd; /* [n_vocab, n_layer*n_own]           */
    blm_tensor own_proj; /* [n_layer*n_own, n_embd]            */
    blm_vector own_norm; /* [n_own]: of what own_proj makes    */

    blm_tensor token_embd;       /* [n_vocab, n_embd] */
    blm_vector output_norm;      /* [n_embd]          */
    blm_vector output_norm_bias; /* then it is a LayerNorm; or data NULL */
    blm_tensor output;           /* [n_vocab, n_embd], or token_embd */
    blm_vector output_bias;      /* [n_vocab]; data NULL without */
    blm_layer *layers;           /* [n_layer]; convolution layers come before delta layers in
                               blm_state.columns, a model has one of the two          */
} blm_language;

#endif
