/* estimate.c - see estimate.h. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/err.h"
#include "base/limits.h"
#include "comm/comm.h"
#include "file/io.h"
#include "train/estimate.h"
#include "train/grad.h"


/* Tokens that the set's micro-batches compute together at most: a full one's, of the examples that share least, or one
 * long example's. `each` examples are cut into micro-batches at once. */
static uint64_t most_rows(const gr_training *r, const gr_set *set, size_t each)
{
    double full = fmin((double)r->batch_tokens, (double)each * (double)set->longest);

    return gr_max(set->alone, (uint64_t)ceil(set->share * full));
}

/* With LoRA so much of activations is kept. It is chosen for little memory, and a bound that is the same everywhere
 * lets a run be foreseen: one row of 2,048 tokens in both orders is below 3 GB with 135 million parameters. */
#define LORA_ACTIVATIONS ((uint64_t)2 << 30)

/* Bytes of the activations of so many rows, as few layers recomputed as keep them below `room`. *layers: how many. */
static uint64_t fit_activations(const gr_training *r, gr_trainee *t, uint64_t rows, uint64_t room, size_t *layers)
{
    gram_recompute how = r->opt->recompute;
    size_t all = gr_model_config(r->model)->layers;
    uint64_t bytes;

    if (r->lora)
        room = gr_min(room, LORA_ACTIVATIONS);
    for (*layers = how == GRAM_RECOMPUTE_ON ? all : 0; ; ++*layers) {
        gr_trainee_recompute(t, *layers);
        bytes = gr_trainee_bytes(t, rows);
        if (bytes <= room || how != GRAM_RECOMPUTE_AUTO || *layers == all)
            return bytes;
    }
}

/* Bytes of the weights that the run holds, of files that are only mapped too. */
static uint64_t weight_bytes(const gr_training *r, const gr_adamw *a)
{
    uint64_t bytes = r->lora ? gr_model_bytes(r->model) + a->floats * sizeof(float) : 0;
    size_t n;
    const gr_param *param = gr_model_params(r->model, &n);

    for (size_t i = 0; i < n && !r->lora; i++) {
        const gr_param *p = &param[i];
        bytes += gr_param_count(p) * gr_dtype_bytes(p->w.type);
    }
    return bytes;
}

static uint64_t moment_bytes(const gr_adamw *a, uint64_t values)
{
    return 2 * values * gr_dtype_bytes(a->m.w.type);
}

/* Of gradients: places of the parameters', and what the optimizer holds of its own. */
static uint64_t gradient_bytes(const gr_adamw *a, const gr_trainee *t)
{
    return (a->g ? gr_trainee_grad_floats(t) + a->own_floats : a->floats) * sizeof(float);
}

static gram_status say(const gr_training *r, const gr_adamw *a, const gr_trainee *t, uint64_t all, uint64_t rows,
                       uint64_t acts, size_t again, gram_err *err)
{
    size_t size = gr_dist_size(r->opt->dist);
    gr_buf text = { 0 };
    bool ok = size == 1 || gr_buf_printf(&text, "%zu processes with %zu thread%s each; of each: ", size,
                                         gr_device_lanes(r->device), gr_device_lanes(r->device) == 1 ? "" : "s");

    ok = ok && gr_buf_printf(&text, "memory: at most about %.2f GiB: weights %.2f, gradients %.2f, optimizer %.2f, "
                             "activations of %" PRIu64 " tokens %.2f, the program and the rows %.2f",
                             (double)all / GR_GIB, (double)weight_bytes(r, a) / GR_GIB,
                             (double)gradient_bytes(a, t) / GR_GIB,
                             (double)moment_bytes(a, a->own_floats) / GR_GIB, rows, (double)acts / GR_GIB,
                             (double)r->program / GR_GIB);
    if (ok && r->source)
        ok = gr_buf_printf(&text, ", keys and values, judge and reference %.2f", (double)r->source->bytes / GR_GIB);
    if (ok && again)
        ok = gr_buf_printf(&text, "; %zu of %zu layers recomputed", again, gr_model_config(r->model)->layers);
    if (ok && r->opt->note)
        r->opt->note(r->opt->arg, text.p);
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "training");
}

/* What hosts carry of what lies on GPUs, and why. */
static gram_status say_carriers(const gr_training *r, const gr_share *s, gram_err *err)
{
    gr_buf text = { 0 };
    bool ok = true;

    if (*s->hosts.text && r->opt->note)
        ok = gr_buf_printf(&text, "what the processes send each other goes through the hosts, with the same bits and "
                           "slower than between GPUs: %s", s->hosts.text);
    if (ok && text.p)
        r->opt->note(r->opt->arg, text.p);
    gr_buf_clear(&text);
    return ok ? GRAM_OK : gr_nomem(err, "training");
}

gram_status gr_estimate_run(const gr_training *r, gr_trainee *t, const gr_share *s, uint64_t *bytes, bool *check_rows,
                            gram_err *err)
{
    const gr_adamw *a = s->a;
    const char *hint = r->opt->recompute == GRAM_RECOMPUTE_OFF ? ", or `recompute auto`" : "";
    uint64_t rows = most_rows(r, r->train, r->opt->batch_rows);
    bool host = gr_device_is_host(r->device);
    const char *where = host ? "the machine" : gr_device_name(r->device);
    uint64_t have = gr_ram(), near = host ? gr_dist_on_host(r->opt->dist) : 1, head = 0, check = 0, acts, base;
    size_t again;
    gram_status rc;

    for (size_t i = 0; i < r->n_held && !r->source; i++)
        rows = gr_max(rows, most_rows(r, &r->held[i], r->held[i].n));
    if (r->source)
        rows = r->source->rows;
    if (r->stage == GRAM_STAGE_PRETRAIN || r->source || gram_loss_writes(r->loss.kind) ||
        gram_loss_is_policy(r->loss.kind) || r->loss.kind == GRAM_LOSS_SFT_REG)
        head = gr_grad_head_bytes(gr_model_config(r->model), gr_device_lanes(r->device));
    if (r->lora && gr_dist_rank(r->opt->dist) == 0)
        check = gr_lora_folded_bytes(gr_lora_get_spec(r->lora), gr_model_config(r->model));
    base = r->program + weight_bytes(r, a) + gradient_bytes(a, t) + moment_bytes(a, a->own_floats) +
           (host ? gr_share_bytes(s) : gr_dist_device_bytes(r->opt->dist)) + (r->source ? r->source->bytes : 0);
    if (!host)                              /* what a GPU has left, and what of the run is there already */
        have = gr_device_free_bytes(r->device) + base;
    acts = head + fit_activations(r, t, rows, have / near > base + head ? have / near - base - head : 0, &again);
    *check_rows = (near - 1) * (base + acts) + base + check <= have;
    *bytes = base + (*check_rows ? gr_max(acts, check) : acts);
    rc = say(r, a, t, *bytes, rows, acts, again, err);
    if (!rc)
        rc = say_carriers(r, s, err);
    if (rc || near * (base + acts) <= have)
        return rc;
    if (near > 1)
        return gr_fail(err, GRAM_ENOMEM, "the %" PRIu64 " processes on this machine need about %.2f GiB each and it "
                       "has %.2f GiB: fewer of them, or a smaller `batch-tokens` or `max-tokens`%s, need less", near,
                       (double)*bytes / GR_GIB, (double)have / GR_GIB, hint);
    return gr_fail(err, GRAM_ENOMEM, "this run needs about %.2f GiB and %s has %.2f GiB: a smaller `batch-tokens` or "
                   "`max-tokens`%s needs less", (double)*bytes / GR_GIB, where, (double)have / GR_GIB, hint);
}

/* Adds the bytes of the files that lie in a directory itself; one that is not there has none. */
static gram_status add_files(const char *dir, const char *sub, uint64_t *bytes, gram_err *err)
{
    char *path = gr_path_join(dir, sub);
    DIR *d = path ? opendir(path) : NULL;
    const struct dirent *e;
    struct stat st;

    while (d && (e = readdir(d)))
        if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            *bytes += (uint64_t)st.st_size;
    if (d)
        closedir(d);
    free(path);
    return path ? GRAM_OK : gr_nomem(err, dir);
}

/* What a run that stopped has there: it is written over. */
static gram_status bytes_there(const char *out, uint64_t *bytes, gram_err *err)
{
    static const char *const sub[] = { ".", "checkpoints", "best" };
    gram_status rc = GRAM_OK;

    *bytes = 0;
    for (size_t i = 0; i < GR_COUNT(sub) && !rc; i++)
        rc = add_files(out, sub[i], bytes, err);
    return rc;
}

/* The bytes of the model as it is written. */
static uint64_t output_bytes(const gr_training *r)
{
    uint64_t bytes = 0;
    size_t n;
    const gr_param *param = r->lora ? gr_lora_params(r->lora, &n) : gr_model_params(r->model, &n);

    for (size_t i = 0; i < n; i++)
        bytes += gr_param_count(&param[i]) * gr_dtype_bytes(param[i].w.type);
    return bytes;
}

/* A file is written beside the one that it takes the place of: for a moment there is one checkpoint, or one model, more
 * than stay. */
gram_status gr_estimate_disk(const gr_training *r, const gr_adamw *a, uint64_t steps, uint64_t *bytes, gram_err *err)
{
    const gram_train_options *o = r->opt;
    uint64_t each = a->floats * sizeof(float) + moment_bytes(a, a->floats), model = output_bytes(r), have, there;
    uint64_t kept = o->save_every ? gr_min(o->keep, (steps + o->save_every - 1) / o->save_every) : 1;
    bool between = (o->eval_every && o->eval_every < steps) || (r->source && (o->best || o->eval_every));
    uint64_t best = r->held->n && between ? model : 0;
    bool known = gr_disk_free(r->out, &have);
    gr_buf text = { 0 };
    gram_status rc = bytes_there(r->out, &there, err);
    bool ok;

    if (rc)
        return rc;
    *bytes = kept * each + best + gr_max(each, model + (best ? model : 0));
    ok = gr_buf_printf(&text, "disk: at most about %.2f GiB: the model %.2f, %" PRIu64 " checkpoint%s of %.2f%s",
                       (double)*bytes / GR_GIB, (double)model / GR_GIB, kept, kept == 1 ? "" : "s",
                       (double)each / GR_GIB, best ? ", the best model as much as the model" : "");
    if (ok && known)
        ok = gr_buf_printf(&text, "; %.2f are free", (double)have / GR_GIB);
    if (ok && o->note)
        o->note(o->arg, text.p);
    gr_buf_clear(&text);
    if (!ok)
        return gr_nomem(err, "training");
    if (!known || *bytes <= have + there)
        return GRAM_OK;
    return gr_fail(err, GRAM_EIO, "%s: this run writes up to %.2f GiB and %.2f GiB are free there: fewer checkpoints "
                   "(`keep`), another directory or `lora-rank` need less", r->out, (double)*bytes / GR_GIB,
                   (double)have / GR_GIB);
}

gram_status gr_estimate_weights(const gr_weights *w, const gr_device *d, const gram_train_options *o, gram_err *err)
{
    bool host = gr_device_is_host(d);
    uint64_t have = host ? gr_ram() : gr_device_free_bytes(d), near = host ? gr_dist_on_host(o->dist) : 1;
    uint64_t values = 0, moments = o->optim_state == GRAM_STATE_BF16 ? 4 : 8, need;

    for (size_t i = 0; i < gr_weights_count(w); i++) {
        const gr_named *n = gr_weights_at(w, i);
        bool head = !strcmp(n->name, "lm_head.weight") || !strcmp(n->name, "output.weight");
        if (!head || !gram_loss_is_scalar(o->loss))
            values += n->bytes / gr_dtype_bytes(n->type) * gr_dtype_block(n->type);
    }
    need = values * (o->model.dtype == GRAM_BF16 ? 2 : 4);
    if (!o->freeze)
        need += o->zero == 2 ? values * (4 + moments) / gr_dist_size(o->dist)
                             : values * 4 + values * moments / gr_dist_size(o->dist);
    if (o->lora_rank > 0 || near * need <= have)
        return GRAM_OK;
    return gr_fail(err, GRAM_ENOMEM, "%s: its weights, their gradients and the optimizer need %.2f GiB%s and %s has "
                   "%.2f GiB: `lora-rank` trains adapters beside it in less", gr_weights_path(w), (double)need / GR_GIB,
                   near > 1 ? " in each process" : "", host ? "the machine" : gr_device_name(d), (double)have / GR_GIB);
}
