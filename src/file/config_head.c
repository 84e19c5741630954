/* config_head.c - which reward head a checkpoint has. The names and shapes of its tensors decide; the class and the
 * labels of a configuration are no more than what somebody says of it, and often stale. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/config_int.h"

/* What trainers and model families call a head. It is one matrix, STEM.weight, or torch's Sequential(Linear, ReLU,
 * Linear), STEM.0 and STEM.2. */
static const char *const stem[] = {
    "score",                    /* transformers' ...ForSequenceClassification, PURM, INF-ORM, Qwen's reward models */
    "v_head.summary",           /* TRL's value heads, LLaMA-Factory, GRM */
    "v_head",                   /* InternLM2, DeepSpeed-Chat */
    "value_head",               /* OpenRLHF */
    "rm_head",                  /* NeMo */
    "reward_head",              /* MOSS-RLHF */
    "regression_head",          /* UltraRM, Eurus */
    "score_head",               /* Safe-RLHF */
    "regression_layer",         /* ArmoRM */
    "cls.output",               /* llama.cpp */
};

/* Networks that weigh the outputs. */
static const struct { const char *stem; size_t step; gr_gate_kind kind; } gate[] = {
    { "gating.layers", 1, GR_GATE_PROMPT },
    { "weights.fc",    2, GR_GATE_ANSWER },     /* activations stand between its layers and are counted with them */
};

gram_status gr_config_note(gr_config *c, gram_err *err, const char *fmt, ...)
{
    char line[1024];
    gr_buf b = { 0 };
    va_list ap;
    bool ok;

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++)
        *p = (unsigned char)*p < ' ' ? '?' : *p;            /* from a file, perhaps */
    ok = gr_buf_printf(&b, "%s%s%s", c->notes ? c->notes : "", c->notes ? "\n" : "", line);
    if (!ok) {
        gr_buf_clear(&b);
        return gr_nomem(err, "notes");
    }
    free(c->notes);
    c->notes = b.p;
    return GRAM_OK;
}

/* ---- The tensors of a head ------------------------------------------------------------------------ */

gr_head_form gr_head_new(size_t rows, size_t hidden)
{
    gr_head_form h = { .rows = rows, .hidden = hidden, .in_bias = hidden > 0, .out_bias = hidden > 0 };

    return gr_head_renamed(&h);
}

gr_head_form gr_head_renamed(const gr_head_form *h)
{
    gr_head_form out = *h;

    snprintf(out.in, sizeof out.in, "score.0");
    snprintf(out.out, sizeof out.out, h->hidden ? "score.2" : "score");
    return out;
}

bool gr_head_part_at(const gr_head_form *h, size_t width, size_t i, gr_head_part *out)
{
    const struct { bool there; const char *name; size_t rows, cols; } part[GR_HEAD_PARTS] = {
        [GR_HEAD_IN]       = { h->hidden > 0,                h->in,  h->hidden, width },
        [GR_HEAD_IN_BIAS]  = { h->hidden > 0 && h->in_bias,  h->in,  1,         h->hidden },
        [GR_HEAD_OUT]      = { true,                         h->out, h->rows,   h->hidden ? h->hidden : width },
        [GR_HEAD_OUT_BIAS] = { h->out_bias,                  h->out, 1,         h->rows },
    };

    for (size_t at = 0; at < GR_HEAD_PARTS && h->rows; at++) {
        bool bias = at == GR_HEAD_IN_BIAS || at == GR_HEAD_OUT_BIAS;
        if (!part[at].there || i--)
            continue;
        *out = (gr_head_part){ .at = at, .rows = part[at].rows, .cols = part[at].cols, .bias = bias };
        snprintf(out->name, sizeof out->name, "%s.%s", part[at].name, bias ? "bias" : "weight");
        return true;
    }
    return false;
}

void gr_gate_name(char out[GR_HEAD_NAME], const gr_gate_form *g, size_t layer, bool bias)
{
    for (size_t i = 0; i < GR_COUNT(gate); i++)
        if (gate[i].kind == g->kind)
            snprintf(out, GR_HEAD_NAME, "%s.%zu.%s", gate[i].stem, layer * gate[i].step, bias ? "bias" : "weight");
}

bool gr_head_is_idle(const gr_config *c, const char *name)
{
    gr_head_part p;

    if (!strncmp(name, "normalizer.", 11))                  /* Safe-RLHF's, where config.json does not turn it on */
        return c->head.rows > 0;
    for (size_t s = 0; c->head.rows && s < GR_COUNT(stem); s++) {
        size_t n = strlen(stem[s]);
        if (strncmp(name, stem[s], n) || name[n] != '.')
            continue;
        for (size_t i = 0; !c->new_head && gr_head_part_at(&c->head, c->width, i, &p); i++)
            if (!strcmp(p.name, name))
                return false;
        return c->new_head;                                 /* the file's own, in whose place an adapter's stands */
    }
    return false;
}

/* ---- Finding it ----------------------------------------------------------------------------------- */

struct looking { gr_find_fn *find; const void *from; const char *before, *path; size_t width; gram_err *err; };

static const gr_named *tensor(const struct looking *l, const char *name, const char *part)
{
    char full[4 * GR_HEAD_NAME];

    snprintf(full, sizeof full, "%s%s.%s", l->before, name, part);
    return l->find(l->from, full);
}

/* A matrix of so many columns, 0: any, and whether a bias goes with it. A lone row may be a vector. */
static gram_status measure(const struct looking *l, const char *name, size_t cols, size_t *rows, bool *bias)
{
    const gr_named *t = tensor(l, name, "weight"), *b = tensor(l, name, "bias");
    size_t n = !t ? 0 : t->n_dims == 1 ? 1 : t->dim[0];

    if (!t)
        return gr_fail(l->err, GRAM_EFORMAT, "%s: tensor %s%s.weight of the reward head is missing", l->path, l->before,
                       name);
    if (t->n_dims < 1 || t->n_dims > 2 || (cols && t->dim[t->n_dims - 1] != cols) || n < 1 || n > MAX_WIDTH)
        return gr_fail(l->err, GRAM_EFORMAT, "%s: tensor %s: wanted rows of %zu, found %zu dimensions [%zu, %zu]",
                       l->path, t->name, cols, t->n_dims, n, t->n_dims ? t->dim[t->n_dims - 1] : 1);
    if (b && (b->n_dims != 1 || b->dim[0] != n))
        return gr_fail(l->err, GRAM_EFORMAT, "%s: tensor %s: wanted %zu values, found %zu dimensions of %zu", l->path,
                       b->name, n, b->n_dims, b->n_dims ? b->dim[0] : 1);
    *rows = n;
    *bias = b != NULL;
    return GRAM_OK;
}

/* The head of this stem, if it has one: the names of its matrices. */
static bool is_there(const struct looking *l, const char *stem_of, gr_head_form *h)
{
    char in[3 * GR_HEAD_NAME], out[3 * GR_HEAD_NAME];
    bool cls = !strcmp(stem_of, "cls.output");

    snprintf(in, sizeof in, "%s.0", stem_of);
    snprintf(out, sizeof out, "%s.2", stem_of);
    if (cls) {                              /* llama.cpp's is "cls", a tanh, and "cls.output"; either may be alone */
        bool last = tensor(l, "cls.output", "weight") != NULL;
        h->tanh = tensor(l, "cls", "weight") != NULL;
        if (!last && !h->tanh)
            return false;
        snprintf(in, sizeof in, "%s", last && h->tanh ? "cls" : "");
        snprintf(out, sizeof out, "%s", last ? "cls.output" : "cls");
    } else if (tensor(l, stem_of, "weight")) {
        snprintf(out, sizeof out, "%s", stem_of);
        *in = '\0';
    } else if (!tensor(l, in, "weight") && !tensor(l, out, "weight")) {
        return false;
    }
    snprintf(h->in, sizeof h->in, "%.*s", GR_HEAD_NAME - 1, in);
    snprintf(h->out, sizeof h->out, "%.*s", GR_HEAD_NAME - 1, out);
    return true;
}

static gram_status measure_both(const struct looking *l, gr_head_form *h)
{
    gram_status rc = *h->in ? measure(l, h->in, l->width, &h->hidden, &h->in_bias) : GRAM_OK;

    if (!rc)
        rc = measure(l, h->out, h->hidden ? h->hidden : l->width, &h->rows, &h->out_bias);
    if (!rc && h->rows > GR_HEAD_MOST)
        rc = gr_fail(l->err, GRAM_EUNSUPPORTED, "%s: tensor %s.weight has %zu rows; a head of at most %d outputs is "
                     "read", l->path, h->out, h->rows, GR_HEAD_MOST);
    return rc;
}

gram_status gr_head_find(gr_head_form *out, const char *first, size_t width, gr_find_fn *find, const void *from,
                         const char *before, bool saved, const char *path, gram_err *err)
{
    static const char *const behind[] = { "", ".modules_to_save", ".modules_to_save.default" };
    const struct looking l = { find, from, before, path, width, err };
    char name[2 * GR_HEAD_NAME];
    bool named = false;

    *out = (gr_head_form){ 0 };
    for (size_t i = 0; i < 1 + GR_COUNT(stem); i++)
        for (size_t k = 0; k < (saved ? GR_COUNT(behind) : 1); k++) {
            const char *s = i ? stem[i - 1] : first;
            gr_head_form h = { 0 };
            snprintf(name, sizeof name, "%s%s", s, behind[k]);
            if (!*s || (i && !strcmp(s, first)) || !is_there(&l, name, &h))
                continue;
            if (*out->out && named)
                continue;                   /* whoever binds the tensors says what is left over */
            if (*out->out)
                return gr_fail(err, GRAM_EUNSUPPORTED, "%s: two reward heads, %s and %s, and nothing says which is "
                               "meant: \"value_head_prefix\" of config.json does", path, out->out, h.out);
            *out = h;
            named = i == 0;
        }
    return *out->out ? measure_both(&l, out) : GRAM_OK;
}

static const gr_named *in_weights(const void *w, const char *name)
{
    return gr_weights_find(w, name);
}

gram_status gr_config_find_head(gr_config *c, const gr_weights *w, gram_err *err)
{
    const char *path = gr_weights_path(w);
    gram_status rc = GRAM_OK;

    if (!c->head.rows)
        rc = gr_head_find(&c->head, c->said.stem, c->width, in_weights, w, "", false, path, err);

    if (!rc && !c->head.rows)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: the reward head is missing: %s says that there is one, and there is no "
                     "tensor %s.weight, nor one of another head's name", path, *c->said.by ? c->said.by : "its class",
                     *c->said.stem ? c->said.stem : gr_weights_gguf(w) ? "cls.output" : "score");
    return rc;
}

/* ---- What it makes of the model ------------------------------------------------------------------- */

/* The network of weights, if there is one. */
static gram_status find_gate(gr_config *c, const gr_weights *w, gram_err *err)
{
    const struct looking l = { in_weights, w, "", gr_weights_path(w), c->width, err };
    gr_gate_form *g = &c->gate;

    for (size_t i = 0; i < GR_COUNT(gate) && !g->kind; i++) {
        char name[GR_HEAD_NAME];
        snprintf(name, sizeof name, "%s.0", gate[i].stem);
        if (tensor(&l, name, "weight"))
            *g = (gr_gate_form){ .kind = gate[i].kind, .size = { c->width }, .temperature = c->said.temperature };
        for (size_t k = 0; g->kind && k <= GR_GATE_LAYERS; k++) {
            bool bias;
            gram_status rc;
            snprintf(name, sizeof name, "%s.%zu", gate[i].stem, k * gate[i].step);
            if (!tensor(&l, name, "weight"))
                break;
            if (k == GR_GATE_LAYERS)
                return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s.weight: a gate of at most %d layers is read",
                               l.path, name, GR_GATE_LAYERS);
            rc = measure(&l, name, g->size[k], &g->size[k + 1], &bias);
            if (rc)
                return rc;
            g->layers = k + 1;
        }
    }
    if (g->kind && g->size[g->layers] * (g->kind == GR_GATE_ANSWER ? 2 : 1) != c->head.rows)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: %zu outputs of %s.weight and %zu of the network that weighs them: "
                       "such a head is not supported", l.path, c->head.rows, c->head.out, g->size[g->layers]);
    return GRAM_OK;
}

/* "0.65,0.8,-0.4" */
static gram_status read_mix(gr_config *c, const char *list, const char *path, gram_err *err)
{
    size_t n = 0;
    char *end = NULL;

    c->mix = gr_calloc(c->head.rows, sizeof *c->mix);
    if (!c->mix)
        return gr_nomem(err, path);
    for (const char *p = list; p; p = *end ? end + 1 : NULL, n++) {
        double x = strtod(p, &end);
        if (end == p || (*end && *end != ',') || !(x >= -1e9 && x <= 1e9))
            return gr_fail(err, GRAM_EARG, "reward weights: wanted numbers with commas between them, found \"%.64s\"",
                           list);
        if (n < c->head.rows)
            c->mix[n] = x;
    }
    if (n != c->head.rows)
        return gr_fail(err, GRAM_EARG, "reward weights: wanted %zu, one for each output of %s.weight in %s, found %zu",
                       c->head.rows, c->head.out, path, n);
    return GRAM_OK;
}

gram_status gr_config_take_head(gr_config *c, const gr_weights *w, const char *path, bool purm, const char *mix,
                                gram_err *err)
{
    gram_status rc = w ? find_gate(c, w, err) : GRAM_OK;
    bool gated = c->gate.kind != GR_GATE_NONE;

    if (!rc && mix && gated)
        rc = gr_fail(err, GRAM_EARG, "reward weights: the outputs of %s.weight in %s are weighed by a network of its "
                     "own", c->head.out, path);
    if (!rc && mix)
        rc = read_mix(c, mix, path, err);
    if (rc)
        return rc;
    if (!mix && !gated && c->head.rows != (purm ? 2u : 1u))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor %s.weight has %zu rows, as many outputs: wanted one, a "
                       "reward, or two and \"gram_reward_head\": \"" GR_PURM_MARK "\"; `reward-weights` says how "
                       "others become one", path, c->head.out, c->head.rows);
    c->reward = purm && !mix && !gated ? GR_REWARD_PURM : GR_REWARD_MEAN;
    if (c->said.end == GR_SAYS_WORDS)
        rc = gr_config_note(c, err, "%s: %s says that this is a language model, and it has a reward head, %s.weight: "
                            "it is read as a reward model", path, c->said.by, c->head.out);
    else if (c->said.labels >= 0 && (size_t)c->said.labels != c->head.rows)
        rc = gr_config_note(c, err, "%s: config.json names %ld labels (num_labels, id2label), and the head %s.weight "
                            "has %zu: the head is what counts", path, c->said.labels, c->head.out, c->head.rows);
    c->words = false;
    return rc;
}

/* ---- The whole ------------------------------------------------------------------------------------ */

static gram_status take_token(gr_config *c, const char *text, const char *path, gram_err *err)
{
    char *end;
    long id = strtol(text, &end, 10);

    if (end == text || *end || id < 0 || (size_t)id >= c->vocabulary)
        return gr_fail(err, GRAM_EARG, "reward token: wanted the id of a token, from 0 to %zu, found \"%.64s\"",
                       c->vocabulary - 1, text);
    if (c->head.rows || !c->words)
        return gr_fail(err, GRAM_EARG, "%s: it has a reward head of its own, so no token's logit is its reward", path);
    c->is_token = true;
    c->token = (int32_t)id;
    c->reward = GR_REWARD_MEAN;
    return GRAM_OK;
}

/* Whether two matrices hold other numbers, whatever their types. */
static gram_status differ(bool *yes, const gr_named *a, const gr_named *b, const char *path, gram_err *err)
{
    size_t cols = a->dim[1], x = 0, y = 0;
    float *row = gr_calloc(2 * cols, sizeof *row);

    if (!row)
        return gr_nomem(err, path);
    gr_dtype_row_bytes(a->type, cols, &x);
    gr_dtype_row_bytes(b->type, cols, &y);
    *yes = a->type == b->type && memcmp(a->data, b->data, a->bytes);
    for (size_t r = 0; r < a->dim[0] && a->type != b->type && !*yes; r++) {
        gr_dequant(row, (const char *)a->data + r * x, a->type, cols);
        gr_dequant(row + cols, (const char *)b->data + r * y, b->type, cols);
        *yes = memcmp(row, row + cols, cols * sizeof *row) != 0;
    }
    free(row);
    return GRAM_OK;
}

/* A file with a head over the vocabulary of its own wins over the flag that ties it to the embedding. */
static gram_status untie(gr_config *c, const gr_weights *w, gram_err *err)
{
    static const char *const embed[] = { "model.embed_tokens.weight", "model.language_model.embed_tokens.weight",
                                         "language_model.model.embed_tokens.weight" };
    const gr_named *own = gr_weights_find(w, "lm_head.weight"), *e = NULL;
    bool other = false;
    gram_status rc;

    if (!own)
        own = gr_weights_find(w, "language_model.lm_head.weight");
    for (size_t i = 0; i < GR_COUNT(embed) && !e; i++)
        e = gr_weights_find(w, embed[i]);
    if (!own || !e || own->n_dims != 2 || e->n_dims != 2)
        return GRAM_OK;                     /* whoever binds them says what is wrong */
    if (own->dim[0] != e->dim[0] || own->dim[1] != e->dim[1])
        return gr_fail(err, GRAM_EFORMAT, "%s: config.json ties lm_head.weight to the embedding "
                       "(tie_word_embeddings), and they are [%zu, %zu] and [%zu, %zu]", gr_weights_path(w), own->dim[0],
                       own->dim[1], e->dim[0], e->dim[1]);
    rc = differ(&other, own, e, gr_weights_path(w), err);
    if (rc || !other)
        return rc;
    c->tied_head = false;
    if (!c->words)
        return GRAM_OK;
    return gr_config_note(c, err, "%s: config.json ties lm_head.weight to the embedding (tie_word_embeddings), and the "
                          "file has one that differs: the file's is used", gr_weights_path(w));
}

gram_status gr_config_settle(gr_config *c, const gr_weights *w, const gr_head_asked *q, gram_err *err)
{
    const char *path = gr_weights_path(w);
    gram_status rc = GRAM_OK;

    if (!c->head.rows) {
        rc = gr_head_find(&c->head, c->said.stem, c->width, in_weights, w, "", false, path, err);
        if (!rc && !c->head.rows && c->said.end == GR_SAYS_HEAD)
            rc = gr_config_find_head(c, w, err);
        if (!rc && c->head.rows && *c->prefix)
            rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward head, %s.weight, on a model that also reads images is "
                         "not supported", path, c->head.out);
        if (!rc && c->head.rows)
            rc = gr_config_take_head(c, w, path, c->said.purm, q->weights, err);
    }
    if (!rc && !c->head.rows && c->said.vectors)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: an embedding model (%s): it gives vectors, and neither words nor "
                     "rewards", path, c->said.by);
    if (!rc && !c->head.rows && c->said.end == GR_SAYS_OTHER)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: architecture \"%s\" is not supported, and there is no reward head: "
                     "wanted a language model (...ForCausalLM) or a reward model (...ForSequenceClassification)", path,
                     c->said.by);
    if (!rc && !c->head.rows && q->weights)
        rc = gr_fail(err, GRAM_EARG, "%s: reward weights were given, and it has no reward head", path);
    if (!rc && q->token)
        rc = take_token(c, q->token, path, err);
    if (!rc && c->said.code && !c->gate.kind)
        rc = gr_config_note(c, err, "%s: %s is code of the checkpoint's own (auto_map), which is not run: it is read "
                            "as transformers' %s", path, c->said.by,
                            c->head.rows ? gr_arch_of(c->architecture)->classifier
                                         : gr_arch_of(c->architecture)->causal);
    if (!rc && c->tied_head && !gr_weights_gguf(w))
        rc = untie(c, w, err);
    return rc;
}
