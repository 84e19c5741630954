/* memory.c - the memory that writing takes, said before the first token. */
#include "api/api_int.h"
#include "base/err.h"
#include "base/limits.h"

#define GIB ((double)(1 << 30))

static uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* Keys and values: nodes of the tree stay until their room is needed, so in the end those of all texts do. A node
 * begins a page of its own: a prompt and each answer to it, and where prompts part. */
static uint64_t text_bytes(const gram_model *m, const gr_api_written *w)
{
    const gr_config *c = gr_model_config(m->model);
    uint64_t page = 2 * GR_PAGE * sizeof(float) * c->layers * c->kv_heads * c->head_dim, pages;

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

    return gr_config_work_bytes(c, prompt + live, lanes) +
           gr_round_up(live, GR_API_LIVE) * (uint64_t)(c->vocabulary + c->width) * sizeof(float) +
           2 * (uint64_t)lanes * c->vocabulary * sizeof(double);            /* each thread draws from weights */
}

gr_api_memory gr_api_write_memory(const gram_model *m, const gr_api_written *w)
{
    gr_api_memory b = { .weights = gr_model_bytes(m->model), .texts = text_bytes(m, w), .pass = pass_bytes(m, w),
                        .program = m->program };

    b.all = b.weights + b.texts + b.pass + b.program;
    return b;
}

gram_status gr_api_tell_memory(gram_model *m, const gr_api_written *w, gram_err *err)
{
    gr_api_memory b = gr_api_write_memory(m, w);
    uint64_t have = gr_ram();
    gr_buf text = { 0 };
    bool ok = true;

    if (b.all > have)
        return gr_fail(err, GRAM_ENOMEM, "writing needs about %.2f GiB and the machine has %.2f GiB: shorter answers, "
                       "fewer of them or a smaller text_bytes need less", (double)b.all / GIB, (double)have / GIB);
    if (m->note && b.all > m->told) {
        ok = gr_buf_printf(&text, "memory: at most about %.2f GiB: weights %.2f, keys and values %.2f, a pass %.2f, "
                           "the program %.2f", (double)b.all / GIB, (double)b.weights / GIB, (double)b.texts / GIB,
                           (double)b.pass / GIB, (double)b.program / GIB);
        if (ok)
            m->note(m->note_arg, text.p);
        m->told = b.all;
    }
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "writing");
}
