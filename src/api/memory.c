/* memory.c - the memory that a model and its writing take, said before the first token; and the GPUs that have some. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/limits.h"
#include "op/gpu.h"


uint64_t gr_api_weight_bytes(const gr_config *c, const gr_weights *w, gram_dtype dtype)
{
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim, bytes = 0;
    uint64_t matrix = c->layers * (c->width * (2 * q + 2 * kv));
    static const uint64_t per[] = { [GRAM_F32] = 4, [GRAM_BF16] = 2, [GRAM_INT8] = 1, [GRAM_INT8_FAST] = 1 };

    for (size_t i = 0; i < c->layers; i++)
        matrix += gr_config_sparse(c, i) ? c->experts * c->width * (3 * (uint64_t)c->expert_hidden + 1)
                                         : 3 * (uint64_t)c->width * c->hidden;
    for (size_t i = 0; i < c->layers; i++)
        matrix += gr_config_shares(c, i) ? c->width * (3 * (uint64_t)c->hidden + 1) : 0;
    for (size_t i = 0; i < gr_weights_count(w); i++) {
        const gr_named *t = gr_weights_at(w, i);
        if (t->n_dims == 2 && t->dim[0] == c->vocabulary)
            bytes += t->bytes;                      /* embedding and head stay mapped */
    }
    return bytes + matrix * per[dtype];
}

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* Keys and values: nodes of the tree stay until their room is needed, so in the end those of all texts do. A node
 * begins a page of its own: a prompt and each answer to it, and where prompts part. */
static uint64_t text_bytes(const gram_model *m, const gr_api_written *w)
{
    const gr_config *c = gr_model_config(m->model);
    uint64_t numbers = 2 * GR_PAGE * c->layers * c->kv_heads * c->head_dim, pages;
    uint64_t page = numbers * gr_dtype_bytes(gr_model_rows(m->model));

    if (w->tokens == 0)
        return m->text_bytes;
    pages = w->tokens / GR_PAGE + 2 * w->prompts + w->prompts * w->n * (ceil_div(w->max_new, GR_PAGE) + 1);
    return gr_min(pages * page, m->text_bytes);
}

/* One forward pass: rows of the newest tokens and of prompts, and the logits of the former. */
static uint64_t pass_bytes(const gram_model *m, const gr_api_written *w)
{
    const gr_config *c = gr_model_config(m->model);
    size_t answers = w->tokens ? w->prompts * w->n : GR_API_LIVE;
    size_t live = gr_min(GR_API_LIVE, answers) * (1 + w->guesses);
    size_t prompt = w->tokens ? gr_min(w->tokens, gr_max(m->scorer.batch_tokens, w->longest))
                              : gr_max(m->scorer.batch_tokens, w->longest);
    size_t lanes = gr_device_lanes(m->device);

    return gr_config_work_bytes(c, prompt + live, lanes, gr_model_rows(m->model)) +
           gr_round_up(live, GR_API_LIVE) * (uint64_t)(c->vocabulary + c->width) * sizeof(float) +
           2 * (uint64_t)lanes * c->vocabulary * sizeof(double);            /* each thread draws from weights */
}

/* Of weights that are laid out anew for many steps, where they are a small part of the machine's memory. */
uint64_t gr_api_lay_bytes(const gram_model *m, gram_products products)
{
    const gr_config *c = gr_model_config(m->model);
    uint64_t bytes = gr_model_lay_bytes(m->model) + (uint64_t)c->vocabulary * c->width * sizeof(float);

    return products == GRAM_PRODUCTS_TILES && gr_device_is_host(m->device) && bytes <= gr_ram() / 4 ? bytes : 0;
}

gr_api_memory gr_api_write_memory(const gram_model *m, const gr_api_written *w)
{
    gr_rows_way way = w->products == GRAM_PRODUCTS_FEW ? GR_ROWS_FEW : GR_ROWS_ALIKE;
    gr_api_memory b = { .weights = gr_model_way_bytes(m->model, way), .texts = text_bytes(m, w),
                        .pass = pass_bytes(m, w), .program = m->program };
    const gr_config *c = gr_model_config(m->model);
    uint64_t lay = gr_api_lay_bytes(m, w->products), head = (uint64_t)c->vocabulary * c->width * sizeof(uint16_t);

    b.weights += lay ? lay : gr_api_writes_bytes(m, w->products) || gr_api_head(m) == GR_HEAD_ROUNDED ? head : 0;
    b.all = b.weights + b.texts + b.pass + b.program;
    return b;
}

gram_status gr_api_tell_memory(gram_model *m, const gr_api_written *w, gram_err *err)
{
    gr_api_memory b = gr_api_write_memory(m, w);
    bool host = gr_device_is_host(m->device);
    uint64_t there = b.weights + b.program, have = host ? gr_ram() : gr_device_free_bytes(m->device) + there;
    gr_buf text = { 0 };
    bool ok = true;

    if (b.all > have)
        return gr_fail(err, GRAM_ENOMEM, "writing needs about %.2f GiB and %s has %.2f GiB: shorter answers, fewer of "
                       "them or a smaller text_bytes need less", (double)b.all / GR_GIB,
                       host ? "the machine" : gr_device_name(m->device), (double)have / GR_GIB);
    if (m->note && b.all > m->told) {
        ok = gr_buf_printf(&text, "memory: at most about %.2f GiB: weights %.2f, keys and values %.2f, a pass %.2f, "
                           "the program %.2f", (double)b.all / GR_GIB, (double)b.weights / GR_GIB,
                           (double)b.texts / GR_GIB, (double)b.pass / GR_GIB, (double)b.program / GR_GIB);
        if (ok)
            m->note(m->note_arg, text.p);
        m->told = b.all;
    }
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "writing");
}

/* Before the weights are read: a GPU has what it has. */
gram_status gr_api_fits(const gram_model *m, const gram_options *opt, gram_err *err)
{
    const gr_config *c = &m->file.cfg;
    size_t batch = opt->batch_tokens ? opt->batch_tokens : GR_API_BATCH_TOKENS;
    gr_dtype type = m->dtype == GRAM_BF16 ? gr_linear_rows(m->device, GR_LINEAR_ROUNDED) : GR_F32;
    uint64_t work = gr_config_work_bytes(c, batch, 1, type), have = gr_device_free_bytes(m->device);
    uint64_t weights = gr_api_weight_bytes(c, m->file.weights, m->dtype);
    uint64_t half = gr_api_weight_bytes(c, m->file.weights, GRAM_BF16);
    bool rounded = m->dtype == GRAM_F32 && half + work <= have;
    char hint[128];

    if (gr_device_is_host(m->device) || weights + work <= have)
        return GRAM_OK;
    if (rounded)
        snprintf(hint, sizeof hint, "in bf16 (`dtype`) its weights take %.2f GiB, which fits", (double)half / GR_GIB);
    else if (have > work)
        snprintf(hint, sizeof hint, "what fits is a model of about %.2f billion parameters in bf16",
                 (double)(have - work) / 2 / 1e9);
    else
        snprintf(hint, sizeof hint, "a smaller `batch-tokens` leaves more of it to the weights");
    return gr_fail(err, GRAM_ENOMEM, "%s: its weights take %.2f GiB in %s and %.2f GiB are needed to work in, and %s "
                   "has %.2f GiB free: %s", m->name, (double)weights / GR_GIB, m->dtype == GRAM_F32 ? "f32" : "bf16",
                   (double)work / GR_GIB, gr_device_name(m->device), (double)have / GR_GIB, hint);
}

size_t gram_gpus(gram_gpu *out, size_t n, gram_err *err)
{
    gr_gpu_info *info = gr_calloc(n, sizeof *info);
    size_t there = 0;

    if (info)
        there = gr_gpu_list(info, n, err);
    else
        gr_nomem(err, "the list of GPUs");
    for (size_t i = 0; i < gr_min(there, n); i++) {
        out[i] = (gram_gpu){ .major = info[i].major, .minor = info[i].minor, .bytes = info[i].bytes,
                             .free_bytes = info[i].free_bytes };
        memcpy(out[i].name, info[i].name, sizeof out[i].name);
    }
    free(info);
    return there;
}
