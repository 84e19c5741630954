/* pass_int.h - a pass over the layers of a model, forward or backward: what it is made of while it runs.
 *
 * One walk for all who compute: scores keep nothing of a layer but what the next needs, training keeps what its
 * backward pass asks for, and a text that is written is a pass of a row or a few. Adapters beside the weights are seen
 * by all. */
#ifndef GR_MODEL_PASS_INT_H
#define GR_MODEL_PASS_INT_H

#include "model/lora_int.h"
#include "model/plan.h"
#include "model/routed.h"
#include "op/op.h"

/* What a layer's forward leaves; [rows, ...] each. What is NULL is not kept: it is scratch, or made in place. */
struct kept {
    gr_mat x;                   /* the residual before the layer */
    float *r1;                  /* its norm's r */
    gr_mat q0, k0;              /* before the head norms; q and k where there are none or nobody asks */
    float *rq, *rk;
    gr_mat q, k, v, o;
    float *lse;
    gr_mat t1;                  /* sandwich: before the norm after attention */
    float *rt1;
    gr_mat mid;                 /* the residual before the MLP */
    float *r2;
    gr_mat gate, up;            /* of experts: [slots, ...], see routed.h */
    gr_mat prob;                /* [rows, experts]: of the router */
    int32_t *chosen;            /* [rows, chosen], on the host */
    gr_mat weight;              /* [rows, chosen]: of what these give */
    gr_mat shared_gate, shared_up;      /* of a shared expert, */
    gr_mat share;               /* [rows, 2]: its weight, and what is left to 1 */
    gr_mat t2;                  /* sandwich: before the norm after the MLP */
    float *rt2;
    gr_mat u[GR_MATRICES];      /* LoRA: what A gives of each matrix's input, [rows, rank]; not of the experts' */
};

struct pass {
    const gr_model *m;
    gr_lora *lora;              /* NULL: no adapters */
    gr_device *d;
    gr_cut cut;                 /* of rows */
    gr_dtype type;              /* of rows between products; the residual and what a router gives are float32 */
    const gr_plan *plan;
    float *table[2];            /* of rope, on the device, of table_rows rows; from cfg.far.after on of far texts */
    size_t table_rows;
    struct kept *kept;          /* [layers]; without keep one, whose x the layers pass on */
    bool keep;
    bool narrow;                /* of the last layer only the rows that are asked for go past keys and values, */
    struct { gr_mat x; float *r; } wanted;      /* and this is their residual before it */
    gr_mat end;                 /* keep: the residual after the last layer */
    size_t ldf, lde;            /* from row to row of what is `hidden` wide, and `expert_hidden` */
    gr_routed routed;           /* of a layer with experts, */
    gr_mat h, y;                /* what they see, [rows, C], and what comes back, [rows, chosen, C] */
    gr_linear *staged[GR_MATRICES];     /* weights laid out for the layer at hand, in `room`; NULL room: never */
    size_t n_staged;
    void *room;
    uint8_t *marks;             /* of all rows, which take one byte with int8 (op/matmul.h); NULL: none does */
    gr_multiply by;             /* how products of the layers' matrices are made, */
    const struct layer *turned;         /* and this layer's are at the moment; NULL: none's that are not float32's */

    bool drop;                  /* adapters see their inputs with dropout, by chance that follows from drop_key */
    uint64_t drop_key;
    const uint64_t *key, *want_key;     /* of the tokens up to each row's */
    gr_mat du[GR_MATRICES];     /* backward: what B gives of each matrix's dy, as u; of the layer at hand */

    size_t layer;
    const struct layer *l;
    struct kept *s;
    bool again;                 /* a layer's forward is made for its backward: what comes after `up` is not wanted */
    /* The rows that are worked on, all or those asked for, and which parts of the layer are theirs: */
    size_t rows;
    gr_mat x, out;              /* the residual before the layer, and after it */
    float *r_x;                 /* of its norm */
    const int32_t *angle;       /* rows of the table */
    const uint8_t *one_byte;    /* marks, or NULL */
    const uint64_t *at_key;
    bool qo, kv;
    gr_attn_pass attn;
};

static inline gr_linear *matrix(const struct layer *l, size_t which)
{
    return l->mat[which].l;
}

/* Returns the adapter of a matrix of a layer, or NULL. */
static inline const struct lora_pair *pair(const gr_lora *l, size_t layer, size_t which)
{
    const struct lora_pair *p = l ? lora_pair(l, layer, which) : NULL;

    return p && p->rank ? p : NULL;
}

static inline gr_norm norm_of(const gr_config *c, const float *w, size_t n)
{
    return (gr_norm){ w, c->norm_bias, c->rms_eps, n };
}

/* Whether the layer at hand has rope. */
static inline bool rotates(const struct pass *p)
{
    return !p->m->cfg.bare || !p->m->cfg.bare[p->layer];
}

static inline const float *table_of(const struct pass *p)
{
    return p->table[p->m->cfg.sliding[p->layer] && p->table[1]];
}

/* ---- layer_fwd.c ----------------------------------------------------------------------------------- */

/* Makes the rope tables for the plan's positions. */
gram_status gr_pass_tables(struct pass *p, gram_err *err);
void gr_pass_clear(struct pass *p);     /* gives them back */
/* With all rows, or in the last layer with those asked for: past keys and values only they are of use. */
void gr_pass_enter(struct pass *p, size_t layer);
/* The other part of the last layer: all rows, as keys and values. */
void gr_pass_enter_keys(struct pass *p);
/* Lays out those of the layer's weights that are used, for the forward or the backward pass. */
void gr_pass_stage(struct pass *p, gr_stage stage);
void gr_pass_unstage(struct pass *p);
/* How the products of a layer's matrices are made, all but the router's. */
void gr_pass_by(const gr_model *m, const struct layer *l, gr_multiply by);
void gr_pass_layer(struct pass *p, size_t layer);
/* Embeddings, then all layers: p->out is the residual after the last. */
void gr_pass_forward(struct pass *p);
/* Scratch bytes that a lane takes for a piece of `rows` rows. */
size_t gr_pass_scratch(const struct pass *p, size_t rows);

/* Returns the keys of rows from r on; NULL without dropout. */
static inline const uint64_t *gr_pass_keys(const struct pass *p, size_t r)
{
    return p->drop ? p->at_key + r : NULL;
}
/* Rows from r on of what is kept of a matrix, u or du; NULL where it is not. */
static inline gr_mat gr_pass_kept(const gr_mat of[GR_MATRICES], size_t which, size_t r)
{
    return which < GR_MATRICES ? gr_mat_at(of[which], r, 0) : (gr_mat){ 0 };
}
/* The same of the rows that a matrix sees: from row r on, or of an expert's matrix from slot r on. */
static inline const uint64_t *gr_pass_keys_of(const struct pass *p, size_t which, size_t r)
{
    return which < GR_MAT_EXPERTS ? gr_pass_keys(p, r) : p->routed.key + r;
}
/* x, or what dropout leaves of it, for a matrix [.., K] of the layer at hand and M rows that have these keys. */
gr_mat gr_pass_dropped(gr_lane *lane, const struct pass *p, size_t which, gr_mat x, const uint64_t *key, size_t M);
/* The key of a matrix of the layer at hand; each row has its own beside it, p->at_key. */
uint64_t gr_pass_drop_key(const struct pass *p, size_t which);
/* The rows of the layer at hand by the experts that they chose. */
void gr_pass_group(struct pass *p);
/* Runs fn over the pieces of the experts' rows. */
void gr_pass_run_experts(struct pass *p, gr_lane_fn *fn, void *arg);

#endif
