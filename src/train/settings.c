/* settings.c - what a checkpoint says of the run that it belongs to.
 *
 * The options that the table marks stand by their names, and what was read, which no option says, beside them. How many
 * steps there are is not among them: a run may get more, and gr_run_check_steps() says when. */
#include <inttypes.h>
#include "base/err.h"
#include "train/options.h"
#include "train/loop_int.h"

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
    if (ok && (r->lora || o.freeze))        /* a checkpoint has what is trained alone */
        ok = gr_buf_printf(&b, "base model=%016" PRIx64 "\n", gr_weights_digest(r->weights));
    if (ok && r->held->n > 0)               /* which weights are the best depends on them */
        ok = gr_buf_printf(&b, "held-out rows=%016" PRIx64 "\n", r->held->digest);
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
