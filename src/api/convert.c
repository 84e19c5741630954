/* convert.c - include/gram/convert.h: one checkpoint is opened, its tensors are listed as both formats call them, and
 * they go row by row into a file of the other. Memory holds a row and the tokenizer, whatever the model's size. */
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "api/api_int.h"
#include "base/err.h"
#include "file/gguf_tok.h"
#include "file/save.h"
#include "gram/convert.h"
#include "gram/train.h"
#include "model/lora.h"
#include "model/model.h"
#include "op/op.h"
#include "op/packed.h"

static const struct { gr_dtype type; const char *torch; uint32_t file_type; } store[] = {     /* llama.cpp's numbers */
    [GRAM_STORE_F32]  = { GR_F32, "float32", 0 },   [GRAM_STORE_BF16] = { GR_BF16, "bfloat16", 32 },
    [GRAM_STORE_F16]  = { GR_F16, "float16", 1 },   [GRAM_STORE_Q8_0] = { GR_Q8_0, NULL, 7 },
    [GRAM_STORE_Q5_1] = { GR_Q5_1, NULL, 9 },       [GRAM_STORE_Q5_0] = { GR_Q5_0, NULL, 8 },
    [GRAM_STORE_Q4_1] = { GR_Q4_1, NULL, 3 },       [GRAM_STORE_Q4_0] = { GR_Q4_0, NULL, 2 },
    [GRAM_STORE_INT8] = { GR_F32, NULL, 0 },
};

struct job {
    const char *from, *out;
    const gram_convert_options *opt;
    bool gguf;                      /* what is written */
    struct checkpoint c;
    gr_config cfg;                  /* of c, which binding takes over: a second reading */
    gr_stored *tensor;
    gr_planned *plan;               /* [n_plan] tensors that are written: those of one name together, and factors */
    size_t *first;                  /* [n_tensors] of each the first of its tensors */
    size_t n, n_tensors, n_plan;
    size_t n_packed;                /* of plan, which come first: matrices in 8 bits, and their names are owned */
    gr_device *device;              /* whose threads pack */
    const float *factor[2];         /* rope_freqs.weight, or rope_factors_long.weight and .._short; behind the rest */
    float *computed;
};

static void note(const struct job *j, const char *text)
{
    if (j->opt->note)
        j->opt->note(j->opt->arg, text);
}

/* ---- The plan ------------------------------------------------------------------------------------- */

static bool packs(const struct job *j)
{
    return j->opt->dtype == GRAM_STORE_INT8;
}

/* The type that a tensor is written in. A GGUF's vectors are F32, and its routers; rows that are not whole blocks are
 * F16; and the embedding and the head, which are felt the most, are not cut below 8 bits. */
static gr_dtype type_of(const struct job *j, const gr_stored *s)
{
    gr_dtype want = packs(j) ? s->t.type : store[j->opt->dtype].type;
    bool ends = !strncmp(s->gguf, "token_embd", 10) || !strncmp(s->gguf, "output.", 7);

    if (packs(j))                           /* as it is, where a directory can hold it */
        return gr_dtype_block(want) > 1 ? GR_F32 : want;
    if (j->gguf && (s->flat || strstr(s->gguf, ".ffn_gate_inp")))
        return GR_F32;
    if (gr_dtype_block(want) > 1 && s->t.cols % gr_dtype_block(want))
        return GR_F16;
    return ends && gr_dtype_block(want) > 1 ? GR_Q8_0 : want;
}

static void plan_list(struct job *j, const char *name, const float *factor)
{
    j->factor[j->n_plan - j->n_tensors] = factor;
    j->plan[j->n_plan++] = (gr_planned){ name, GR_F32, 1, j->cfg.rope_dim / 2, true };
}

/* Llama 3's factors, of the formula or the list that the file holds; or LongRoPE's. */
static gram_status plan_factors(struct job *j, gram_err *err)
{
    const gr_named *t = gr_weights_find(j->c.weights, "rope_freqs.weight");
    const gr_config *c = &j->cfg;

    if (j->gguf && c->far.after) {
        plan_list(j, "rope_factors_long.weight", c->far.longs);
        plan_list(j, "rope_factors_short.weight", c->far.shorts);
    }
    if (!j->gguf || (c->rope[0].kind != GR_ROPE_LLAMA3 && c->rope[0].kind != GR_ROPE_TABLE))
        return GRAM_OK;
    if (t && j->c.gguf) {                   /* divide_by_factors() has found as many values of F32 */
        plan_list(j, "rope_freqs.weight", t->data);
        return GRAM_OK;
    }
    j->computed = gr_calloc(c->rope_dim / 2, sizeof *j->computed);
    if (!j->computed)
        return gr_nomem(err, j->out);
    gr_config_rope_factors(c, j->computed);
    plan_list(j, "rope_freqs.weight", j->computed);
    return GRAM_OK;
}

/* The matrices that a model in int8 has in 8 bits, each under its own name. */
static gram_status plan_packed(struct job *j, gram_err *err)
{
    for (size_t i = 0; i < j->n && packs(j); i++) {
        const gr_stored *s = &j->tensor[i];
        gr_buf name = { 0 };
        if (!s->int8)
            continue;
        if (!gr_buf_printf(&name, "%.*s" GR_PACKED_PART, (int)(strlen(s->matrix) - strlen("weight")), s->matrix))
            return gr_nomem(err, j->out);
        j->first[j->n_plan] = i;
        j->plan[j->n_plan++] = (gr_planned){ .name = name.p, .packed = gr_packed_bytes(s->t.rows, s->t.cols) };
        j->n_packed = j->n_plan;
    }
    return GRAM_OK;
}

/* Whether nothing of the tensor that these are together is asked for. */
static bool all_packed(const struct job *j, const gr_stored *s, size_t n)
{
    bool all = packs(j);

    for (size_t i = 0; i < n; i++)
        all = all && s[i].int8;
    return all;
}

static gram_status make_plan(struct job *j, gram_err *err)
{
    size_t odd = 0;
    gram_status rc;

    j->plan = gr_calloc(2 * j->n + 2, sizeof *j->plan);
    j->first = gr_calloc(2 * j->n + 2, sizeof *j->first);
    if (!j->plan || !j->first)
        return gr_nomem(err, j->out);
    rc = plan_packed(j, err);
    if (rc)
        return rc;
    for (size_t i = 0, some, rows; i < j->n; i += some) {
        const gr_stored *s = &j->tensor[i];
        gr_dtype type = type_of(j, s);
        some = gr_stored_together(s, j->n - i, j->gguf, &rows);
        if (all_packed(j, s, some))
            continue;
        odd += type == GR_F16 && !packs(j) && store[j->opt->dtype].type != GR_F16;
        j->first[j->n_plan] = i;
        j->plan[j->n_plan++] = (gr_planned){ j->gguf ? s->gguf : s->name, type, rows, s->t.cols, s->flat,
                                             j->gguf ? s->experts : 0 };
    }
    j->n_tensors = j->n_plan;
    if (odd)
        note(j, "some matrices are written as f16: their rows are not whole blocks of 32");
    return plan_factors(j, err);
}

static gram_status row(void *arg, size_t i, size_t r, float *out, gram_err *err)
{
    const struct job *j = arg;
    size_t k = j->first[i];

    (void)err;
    if (i >= j->n_tensors) {
        memcpy(out, j->factor[i - j->n_tensors], j->plan[i].cols * sizeof *out);
        return GRAM_OK;
    }
    if (j->tensor[k].experts) {             /* all of a size */
        k += r / j->tensor[k].t.rows;
        r %= j->tensor[k].t.rows;
    }
    for (; r >= j->tensor[k].t.rows; k++)
        r -= j->tensor[k].t.rows;
    gr_stored_row(&j->tensor[k], j->gguf, r, out);
    return GRAM_OK;
}

static const void *packed_row(void *arg, size_t r, size_t k, size_t n, float *room)
{
    gr_stored_part(arg, false, r, k, n, room);
    return room;
}

static gram_status pack(void *arg, size_t i, void *out, gram_err *err)
{
    const struct job *j = arg;
    gr_stored *s = &j->tensor[j->first[i]];
    gram_status rc = gr_packed_make(out, j->device, s->t.rows, s->t.cols, packed_row, s, false, err);
    gr_packed made = gr_packed_at(out, s->t.rows, s->t.cols);

    for (size_t r = 0; r < made.O && !rc; r++)
        if (!isfinite(made.scale[r]))
            rc = gr_fail(err, GRAM_EFORMAT, "%s: not written: row %zu of tensor %s has a value that 8 bits do not hold",
                         j->out, r, s->name);
    return rc;
}

/* ---- A directory ---------------------------------------------------------------------------------- */

static gram_status check_empty(const struct job *j, const char *name, gram_err *err)
{
    char *path = gr_path_join(j->out, name);
    gram_status rc = !path ? gr_nomem(err, j->out) : !gr_path_exists(path) ? GRAM_OK :
                     gr_fail(err, GRAM_EARG, "%s: there already, and not written over", path);

    free(path);
    return rc;
}

/* Of the types of a directory. */
static gram_store store_of(gr_dtype type)
{
    return type == GR_BF16 ? GRAM_STORE_BF16 : type == GR_F16 ? GRAM_STORE_F16 : GRAM_STORE_F32;
}

/* The weights come last: what is not whole has none. */
static gram_status write_dir(struct job *j, gram_err *err)
{
    static const gr_meta meta = { "format", "pt" };         /* transformers wants it */
    const gr_stored *embed = &j->tensor[0];                 /* what stays in its type is of this one's */
    const char *torch = store[packs(j) ? store_of(type_of(j, embed)) : j->opt->dtype].torch;
    char *path = gr_path_join(j->out, packs(j) ? GR_PACKED_WEIGHTS : "model.safetensors");
    gram_status rc = path ? check_empty(j, "config.json", err) : gr_nomem(err, j->out);

    if (!rc)
        rc = gr_weights_check_none(j->out, err);
    if (!rc)
        rc = gr_make_directory(j->out, err);
    if (!rc)
        rc = gr_write_model_files(j->from, j->out, torch, &j->cfg, err);
    if (!rc && packs(j))
        rc = gr_device_open(&j->device, "cpu", 0, err);
    if (!rc)
        rc = gr_checkpoint_write_card(&j->c, j->out, err);
    if (!rc)
        rc = packs(j) ? gr_st_write_packed(path, j->plan, j->n_plan, row, pack, j, err)
                      : gr_st_write_rows(path, j->plan, j->n_plan, &meta, 1, row, j, err);
    free(path);
    return rc;
}

/* ---- A GGUF --------------------------------------------------------------------------------------- */

/* What is kept in keys of our own, other programs do not know. */
static bool say(const struct job *j, const char *what, const char *which)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "%s%s: gram reads it from this file; llama.cpp has no form for it and gives such texts "
                            "other tokens", what, which);

    if (ok)
        note(j, b.p);
    gr_buf_clear(&b);
    return ok;
}

static bool tell_formless(const struct job *j, const gr_tok_lists *l)
{
    if (l->formless.n && !say(j, "added tokens ", l->formless.p))
        return false;
    return l->spec.scheme == GR_SCHEME_PREPEND || !l->spec.add_space_prefix ||
           say(j, "no space is put before a text that begins with one", l->spec.scheme == GR_SCHEME_FIRST ?
               ", nor behind special tokens" : "");
}

static gram_status add_tokenizer(const struct job *j, gr_keys *k, gram_err *err)
{
    gr_gguf_tok t;
    gram_status rc;

    if (!j->c.words.tok) {                        /* llama.cpp's word for it; there are still logits */
        gr_keys_str(k, "tokenizer.ggml.model", (gr_str){ "none", 4 });
        return GRAM_OK;
    }
    rc = j->c.gguf ? gr_gguf_tok_read(&t, j->c.weights, err) : gr_gguf_tok_of_dir(&t, j->from, &j->cfg, err);
    if (rc)
        return rc;
    if (!tell_formless(j, &t.lists)) {
        gr_gguf_tok_clear(&t);
        return gr_nomem(err, j->out);
    }
    gr_gguf_tok_keys(&t, k);
    gr_gguf_tok_clear(&t);
    return GRAM_OK;
}

static gram_status write_gguf(struct job *j, gram_err *err)
{
    gr_keys k = { 0 };
    char *name = gr_api_base_name(j->from);
    gr_str called = { name, name ? strlen(name) : 0 };
    gram_status rc = name ? gr_config_keys(&j->cfg, j->from, &k, err) : gr_nomem(err, j->out);

    if (!rc) {
        gr_keys_str(&k, "general.type", (gr_str){ "model", 5 });
        if (j->c.gguf)
            gr_gguf_str(gr_weights_gguf(j->c.weights), "general.name", &called);
        gr_keys_str(&k, "general.name", called);
        gr_keys_u32(&k, "general.file_type", store[j->opt->dtype].file_type);
        gr_keys_u32(&k, "general.quantization_version", 2);
        rc = add_tokenizer(j, &k, err);
    }
    if (!rc && j->cfg.window && gr_arch_of(j->cfg.architecture)->slide != GR_SLIDE_PATTERN)
        note(j, "llama.cpp reads this architecture without its sliding window: longer texts give other scores there");
    if (j->c.card.temperature > 0 || gr_card_says_words(&j->c.card))
        note(j, "judge.json stays behind, for it stands in a model's directory and a GGUF is one file: its temperature "
                "and the words that this judge reads must be given again");
    if (!rc)
        rc = gr_gguf_write(j->out, &k, j->plan, j->n_plan, row, j, err);
    gr_keys_clear(&k);
    free(name);
    return rc;
}

/* ---- The whole ------------------------------------------------------------------------------------ */

/* A text of every kind, then each added token between spaces and inside a word. */
static bool sample(const gr_tok *t, gr_buf *out)
{
    bool ok = gr_buf_puts(out, " Hello, world! It's 2024:\n  na\xc3\xafve \xe4\xbd\xa0\xe5\xa5\xbd "
                               "\xf0\x9f\x98\x80. DON'T 1234567 x=y; [a]\t\r\n\n");

    for (size_t i = 0; ok && i < gr_tok_vocabulary(t); i++) {
        gr_str s = gr_tok_text(t, (int32_t)i);
        if (gr_tok_is_added(t, (int32_t)i))
            ok = gr_buf_puts(out, " a ") && gr_buf_add(out, s.p, s.n) && gr_buf_puts(out, "  b") &&
                 gr_buf_add(out, s.p, s.n) && gr_buf_puts(out, "c");
    }
    return ok;
}

static gram_status same_tokens(const struct job *j, const gr_tok *t, gram_err *err)
{
    gr_buf text = { 0 };
    gr_ids want = { 0 }, got = { 0 };
    gram_status rc = sample(j->c.words.tok, &text) ? GRAM_OK : gr_nomem(err, j->out);

    for (int special = 0; special < 2 && !rc; special++) {
        want.n = got.n = 0;
        rc = gr_tok_encode(j->c.words.tok, text.p, text.n, special, &want, err);
        if (!rc)
            rc = gr_tok_encode(t, text.p, text.n, special, &got, err);
        if (!rc && (want.n != got.n || memcmp(want.p, got.p, want.n * sizeof *want.p)))
            rc = gr_fail(err, GRAM_EIO, "%s: opened again, its tokenizer does not give the tokens of %s", j->out,
                         j->from);
    }
    gr_buf_clear(&text);
    gr_ids_clear(&want);
    gr_ids_clear(&got);
    return rc;
}

/* Its weights are mapped, and each has its place. */
static gram_status reopen_packed(const struct job *j, struct checkpoint *c, gram_err *err)
{
    gr_model *m;
    gram_status rc = gr_model_open(&m, j->device, c->weights, &c->cfg, GR_LINEAR_INT8, err);

    gr_model_close(m);
    return rc;
}

/* What was written opens, has each tensor that its architecture wants, and splits a text into the same tokens. */
static gram_status reopen(const struct job *j, gram_err *err)
{
    struct checkpoint c;
    gr_stored *tensor = NULL;
    size_t n;
    gram_status rc = gr_checkpoint_open(&c, j->out, &(gram_options){ 0 }, err);

    if (!rc && j->c.words.tok)
        rc = same_tokens(j, c.words.tok, err);
    if (!rc)
        rc = packs(j) ? reopen_packed(j, &c, err) : gr_model_stored(&tensor, &n, c.weights, &c.cfg, err);
    free(tensor);
    gr_checkpoint_clear(&c);
    return rc;
}

static gram_status check_options(const struct job *j, gram_err *err)
{
    if ((unsigned)j->opt->dtype >= GR_COUNT(store))
        return gr_fail(err, GRAM_EARG, "dtype: %d is none of gram_store", (int)j->opt->dtype);
    if (j->gguf && packs(j))
        return gr_fail(err, GRAM_EARG, "%s: int8 is written into a directory, which gram alone reads; q8_0 is what "
                       "a GGUF has of 8 bits", j->out);
    if (!j->gguf && !packs(j) && !store[j->opt->dtype].torch)
        return gr_fail(err, GRAM_EARG, "%s: a directory holds f32, bf16, f16 or int8 weights; %s is a type of GGUF",
                       j->out, gr_dtype_name(store[j->opt->dtype].type));
    if (gr_path_same(j->from, j->out))
        return gr_fail(err, GRAM_EARG, "%s: a model is not converted onto itself", j->out);
    return GRAM_OK;
}

static gram_status convert(struct job *j, gram_err *err)
{
    const gram_options o = { .note = j->opt->note, .note_arg = j->opt->arg };
    gram_status rc = gr_checkpoint_open(&j->c, j->from, &o, err);

    if (!rc && j->c.cfg.reward && j->gguf)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward head (score.weight) has no form in a GGUF that llama.cpp "
                     "computes: its reranking heads end in a softmax, or are not loaded", j->from);
    if (!rc && *j->c.cfg.prefix && !j->gguf)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: only the text half of this model would be written, and its directory "
                     "asks for both", j->from);
    if (!rc)
        rc = gr_config_open(&j->cfg, j->c.weights, NULL, &(gr_head_asked){ 0 }, err);
    if (!rc)
        rc = gr_model_stored(&j->tensor, &j->n, j->c.weights, &j->c.cfg, err);
    if (!rc)
        rc = make_plan(j, err);
    if (!rc)
        rc = j->gguf ? write_gguf(j, err) : write_dir(j, err);
    return rc ? rc : reopen(j, err);
}

static bool ends_in_gguf(const char *s)
{
    size_t n = strlen(s);

    return n > 5 && !strcmp(s + n - 5, ".gguf");
}

/* ---- An adapter ----------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

/* A directory and all that is in it, which need not be there; links are not followed. */
static void remove_dir(const char *path)
{
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Folded into its base, as float32 in a directory beside OUT, which goes again. It bears the adapter's name. */
static gram_status convert_folded(const char *adapter, const char *out, const gram_convert_options *opt,
                                  gram_convert_report *report, gram_err *err)
{
    char *name = gr_api_base_name(adapter), *inner = NULL;
    size_t n = strlen(out);
    gr_buf outer = { 0 };
    gram_status rc;

    while (n > 1 && out[n - 1] == '/')
        n--;
    if (name && gr_buf_printf(&outer, "%.*s.%ld.merged", (int)n, out, (long)getpid()))
        inner = gr_path_join(outer.p, name);
    if (inner)
        remove_dir(outer.p);                /* a killed run's, which had this number, too */
    rc = inner ? gr_make_directory(outer.p, err) : gr_nomem(err, adapter);
    if (!rc) {
        rc = gram_merge(adapter, NULL, inner, GRAM_F32, err);
        if (!rc)
            rc = gram_convert(inner, out, opt, report, err);
        remove_dir(outer.p);
    }
    gr_buf_clear(&outer);
    free(inner);
    free(name);
    return rc;
}

gram_status gram_convert(const char *model, const char *out, const gram_convert_options *opt,
                         gram_convert_report *report, gram_err *err)
{
    const gram_convert_options defaults = { 0 };
    struct job j = { .from = model, .out = out, .opt = opt ? opt : &defaults, .gguf = ends_in_gguf(out) };
    bool adapter = false;
    gram_status rc = check_options(&j, err);

    if (!rc)
        rc = gr_adapter_is(&adapter, model, err);
    if (!rc && adapter)
        return convert_folded(model, out, opt, report, err);
    if (!rc)
        rc = convert(&j, err);
    if (report)
        *report = (gram_convert_report){ .tensors = j.n_plan };
    for (size_t i = 0; report && i < j.n_plan; i++)
        report->bytes += gr_planned_bytes(&j.plan[i]);
    for (size_t i = 0; i < j.n_packed; i++)
        free((char *)(uintptr_t)j.plan[i].name);
    gr_device_close(j.device);
    free(j.tensor);
    free(j.plan);
    free(j.first);
    free(j.computed);
    gr_config_clear(&j.cfg);
    gr_checkpoint_clear(&j.c);
    return rc;
}
