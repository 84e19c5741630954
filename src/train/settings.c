/* settings.c - what a checkpoint says of the run that it belongs to.
 *
 * The options that the table marks stand by their names, and what was read, which no option says, beside them. How many
 * steps there are is not among them: a run may get more, and gr_run_check_steps() says when. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/err.h"
#include "file/io.h"
#include "train/options.h"
#include "train/loop_int.h"
#include "train/state.h"

enum { MOST = 1 << 20 };        /* bytes of run.txt */

/* Options as they came out: what an adapter that is trained further has goes before what nobody asked for. */
static gram_train_options settled(const gr_training *r)
{
    gram_train_options o = *r->opt;
    const gr_lora_spec *s = r->lora ? gr_lora_get_spec(r->lora) : NULL;

    o.model.batch_tokens = r->batch_tokens;
    if (gr_model_config(r->model)->head.hidden) {
        o.head = GRAM_HEAD_MLP;
        o.head_width = gr_model_config(r->model)->head.hidden;
    }
    if (s) {
        o.lora_rank = s->rank;
        o.lora_alpha = s->alpha;
        o.lora_dropout = s->dropout;
        o.lora_targets = NULL;          /* below, whatever their order was */
    }
    return o;
}

gram_status gr_run_settings(const gr_training *r, char **out, gram_err *err)
{
    const gram_train_options o = settled(r);
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, "stage=%d\n", (int)r->stage + 1) && gr_options_settings(&b, r->stage, &o) &&
              gr_buf_printf(&b, "training rows=%016" PRIx64 "\n", r->train->digest);

    if (ok && !gram_loss_is_scalar(o.loss))
        ok = gr_buf_printf(&b, "tokens of the labels=%d,%d\n", (int)r->label[0], (int)r->label[1]);
    if (ok && r->lora) {
        const gr_lora_spec *s = gr_lora_get_spec(r->lora);
        ok = gr_buf_printf(&b, "matrices with adapters=%#x\nrsLoRA=%d\n", s->targets, s->root);
    }
    if (ok)                                 /* weights that are not trained, and the reference, come from it */
        ok = gr_buf_printf(&b, "model that it starts from=%016" PRIx64 "\n", r->starts);
    if (ok && r->refers)
        ok = gr_buf_printf(&b, "weights of the reference=%016" PRIx64 "\n", r->refers);
    if (ok && r->judged)
        ok = gr_buf_printf(&b, "judges or how they are asked=%016" PRIx64 "\n", r->judged);
    for (size_t i = 0; i < r->n_held && ok && r->held->n > 0; i++)      /* the first decides which weights are best */
        ok = gr_buf_printf(&b, "held-out rows") && (!i || gr_buf_printf(&b, " of set %zu", i + 1)) &&
             gr_buf_printf(&b, "=%016" PRIx64 "\n", r->held[i].digest);
    if (ok && r->source)
        ok = r->source->settings(r->source->arg, &b);
    if (ok && !gr_device_is_host(r->device))        /* whichever it is, and however many */
        ok = gr_buf_puts(&b, "computed on a GPU=yes\n");
    if (!ok) {
        gr_buf_clear(&b);
        return gr_nomem(err, "settings");
    }
    *out = b.p;
    return GRAM_OK;
}

gram_status gr_run_check_steps(struct loop *l, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    const gr_state *s = &l->state;

    l->warmup = s->warmup;                  /* it stays as long as it was begun */
    if (s->step > l->steps)
        return gr_fail(err, GRAM_EARG, "%s: the run has taken %" PRIu64 " steps already, and %" PRIu64 " in all are "
                       "asked for", l->checkpoints.dir, s->step, l->steps);
    if (s->steps != l->steps && o->schedule != GRAM_SCHEDULE_CONSTANT && !o->extend)
        return gr_fail(err, GRAM_EARG, "%s: this run is one of %" PRIu64 " steps, its rates fall towards their end, "
                       "and %" PRIu64 " steps are asked for: `extend` goes on with the rates of a run of so many",
                       l->checkpoints.dir, s->steps, l->steps);
    l->state.steps = l->steps;
    return GRAM_OK;
}

/* *path and *text are malloc'ed. */
static gram_status note(const struct loop *l, char **path, gr_buf *text, gram_err *err)
{
    const gram_train_options *o = l->r->opt;

    *path = gr_path_join(l->r->out, "run.txt");
    *text = (gr_buf){ 0 };
    return *path && gr_buf_printf(text, "%sbest=%d\npatience=%" PRIu64 "\n", l->settings, o->best, o->patience)
               ? GRAM_OK : gr_nomem(err, l->r->out);
}

gram_status gr_run_note(const struct loop *l, gram_err *err)
{
    char *path;
    gr_buf text;
    gram_status rc = note(l, &path, &text, err);

    if (!rc)
        rc = gr_write_file(path, text.p, text.n, err);
    gr_buf_clear(&text);
    free(path);
    return rc;
}

gram_status gr_run_same(const struct loop *l, gram_err *err)
{
    char *path, *was = NULL;
    size_t n;
    gr_buf text;
    gram_status rc = note(l, &path, &text, err);

    if (!rc && !gr_path_exists(path))
        rc = gr_fail(err, GRAM_EARG, "%s is there, and no run.txt beside it says which run made it: nothing goes on "
                     "from it", l->weights_path);
    if (!rc)
        rc = gr_read_file(path, MOST, &was, &n, err);
    if (!rc)
        rc = gr_state_same(path, was, text.p, err);
    gr_buf_clear(&text);
    free(was);
    free(path);
    return rc;
}
