/* The weights of a vision tower at another address. */
#include "resampler.h"
#include "vision.h"

typedef struct blm_move {
    uintptr_t from, to; /* where the file lay, and lies */
} blm_move;

static void blm_move_data(const blm_move *move, const uint8_t **data)
{
    if (*data) *data = (const uint8_t *)(move->to + ((uintptr_t)*data - move->from));
}

static void blm_move_tensor(const blm_move *move, blm_tensor *t)
{
    blm_move_data(move, &t->data);
}

static void blm_move_vector(const blm_move *move, blm_vector *v)
{
    blm_move_data(move, &v->data);
}

static void blm_move_norm(const blm_move *move, blm_norm *norm)
{
    blm_move_vector(move, &norm->weight);
    blm_move_vector(move, &norm->bias);
}

static void blm_move_resampler(const blm_move *move, blm_resampler *s)
{
    blm_tensor *const tensors[] = {&s->query, &s->kv, &s->q, &s->k, &s->v, &s->o, &s->out};
    blm_vector *const vectors[] = {&s->q_bias, &s->k_bias, &s->v_bias, &s->o_bias};
    blm_norm *const norms[] = {&s->query_norm, &s->kv_norm, &s->out_norm};
    for (uint32_t i = 0; i < BLM_COUNT_OF(tensors); i++)
        blm_move_tensor(move, tensors[i]);
    for (uint32_t i = 0; i < BLM_COUNT_OF(vectors); i++)
        blm_move_vector(move, vectors[i]);
    for (uint32_t i = 0; i < BLM_COUNT_OF(norms); i++)
        blm_move_norm(move, norms[i]);
}

static void blm_move_projector(const blm_move *move, blm_projector *p)
{
    blm_move_norm(move, &p->norm);
    blm_move_vector(move, &p->shift);
    blm_move_vector(move, &p->stretch);
    blm_move_tensor(move, &p->merger);
    blm_move_vector(move, &p->merger_bias);
    blm_move_tensor(move, &p->first);
    blm_move_vector(move, &p->first_bias);
    blm_move_tensor(move, &p->second);
    blm_move_vector(move, &p->second_bias);
    if (p->resampler) blm_move_resampler(move, p->resampler);
}

static void blm_move_layer(const blm_move *move, blm_vision_layer *l)
{
    blm_tensor *const tensors[] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
    blm_vector *const vectors[] = {&l->q_bias,    &l->k_bias,  &l->v_bias,
                                   &l->o_bias,    &l->scale1,  &l->scale2,
                                   &l->gate_bias, &l->up_bias, &l->down_bias};
    blm_move_norm(move, &l->ln1);
    blm_move_norm(move, &l->ln2);
    for (uint32_t i = 0; i < BLM_COUNT_OF(tensors); i++)
        blm_move_tensor(move, tensors[i]);
    for (uint32_t i = 0; i < BLM_COUNT_OF(vectors); i++)
        blm_move_vector(move, vectors[i]);
}

static void blm_move_extra(const blm_move *move, blm_vision_extra *e)
{
    blm_move_norm(move, &e->mixed);
    blm_move_norm(move, &e->fed);
    blm_move_vector(move, &e->q_norm);
    blm_move_vector(move, &e->k_norm);
}

BLM_PRIVATE void blm_vision_move(blm_vision *m, const void *from, const void *to)
{
    const blm_move move = {(uintptr_t)from, (uintptr_t)to};
    blm_tensor *const tensors[] = {&m->patch_embd, &m->patch_embd_1, &m->position_embd,
                                   &m->newline};
    for (uint32_t i = 0; i < BLM_COUNT_OF(tensors); i++)
        blm_move_tensor(&move, tensors[i]);
    blm_move_vector(&move, &m->patch_bias);
    blm_move_vector(&move, &m->class_embd);
    blm_move_norm(&move, &m->pre_ln);
    blm_move_norm(&move, &m->post_ln);
    blm_move_norm(&move, &m->merge_ln);
    for (uint32_t i = 0; i < m->n_layer; i++)
        blm_move_layer(&move, &m->layers[i]);
    for (uint32_t i = 0; m->extras && i < m->n_layer; i++)
        blm_move_extra(&move, &m->extras[i]);
    if (m->joining) blm_move_layer(&move, m->joining);
    blm_move_projector(&move, &m->projector);
    for (uint32_t i = 0; i < m->deepstack_count; i++)
        blm_move_projector(&move, &m->deepstack[i]);
}
