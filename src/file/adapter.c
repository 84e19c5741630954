/* adapter.c - see adapter.h. */
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/err.h"
#include "base/json.h"
#include "file/adapter.h"
#include "file/beside.h"
#include "file/file_int.h"
#include "file/save.h"

#define CONFIG_LIMIT ((size_t)16 << 20)

/* ---- The directory --------------------------------------------------------------------------------- */

gram_status gr_adapter_is(bool *yes, const char *path, gram_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);    /* no memory that could run out and mean no */

    if (fd < 0)
        return gr_adapter_gguf_is(yes, path, err);
    *yes = faccessat(fd, GR_ADAPTER_CONFIG, F_OK, 0) == 0;
    close(fd);
    return GRAM_OK;
}

/* LLaMA-Factory's, where there is one. */
static gram_status open_value_head(gr_adapter *a, gram_err *err)
{
    char *path = gr_path_join(a->path, GR_VALUE_HEAD);
    gram_status rc = !path ? gr_nomem(err, a->path) : GRAM_OK;

    if (!rc && gr_path_exists(path))
        rc = gr_st_open(&a->head_st, path, err);
    free(path);
    return rc;
}

static gram_status open_tensors(gr_adapter *a, gram_err *err)
{
    char *path = gr_path_join(a->path, GR_ADAPTER_WEIGHTS), *pickle = gr_path_join(a->path, "adapter_model.bin");
    gram_status rc;

    if (!path || !pickle)
        rc = gr_nomem(err, a->path);
    else if (!gr_path_exists(path))
        rc = gr_fail(err, GRAM_EIO, "%s: " GR_ADAPTER_WEIGHTS " is not there%s", a->path,
                     gr_path_exists(pickle) ? " (adapter_model.bin holds Python objects and is not read)" : "");
    else
        rc = gr_st_open(&a->st, path, err);
    free(path);
    free(pickle);
    return rc ? rc : open_value_head(a, err);
}

static const gr_named *in_st(const void *st, const char *name)
{
    return gr_st_find(st, name);
}

/* A head that is missing although adapter_config.json speaks of it was lost, and nobody can judge without it. */
static gram_status find_head(gr_adapter *a, gram_err *err)
{
    gram_status rc = a->head_st
        ? gr_head_find(&a->head, "", 0, in_st, a->head_st, "", false, gr_st_path(a->head_st), err)
        : gr_head_find(&a->head, "", 0, in_st, a->st, GR_ADAPTER_STEM, true, a->path, err);

    if (!rc && a->head_st && !a->head.rows)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: it holds no reward head of a name that is known",
                       gr_st_path(a->head_st));
    if (!rc && !a->head.rows && a->cfg.says_head)
        return gr_fail(err, GRAM_EFORMAT, "%s: the reward head is missing: " GR_ADAPTER_CONFIG " speaks of one "
                       "(task_type, modules_to_save), and " GR_ADAPTER_WEIGHTS " has no tensor " GR_ADAPTER_STEM
                       "score.weight: it was lost when the adapter was saved", a->path);
    return rc;
}

static gram_status open_dir(gr_adapter *a, gram_err *err)
{
    char *path = gr_path_join(a->path, GR_ADAPTER_CONFIG), *text = NULL;
    size_t n;
    gram_status rc = path ? gr_read_file(path, CONFIG_LIMIT, &text, &n, err) : gr_nomem(err, a->path);

    if (!rc)
        rc = gr_adapter_config_parse(&a->cfg, path, text, n, err);
    if (!rc)
        rc = open_tensors(a, err);
    if (!rc)
        rc = find_head(a, err);
    free(path);
    free(text);
    return rc;
}

gram_status gr_adapter_open(gr_adapter **out, const char *path, gram_err *err)
{
    gr_adapter *a = gr_calloc(1, sizeof *a);
    bool file = false;
    gram_status rc;

    *out = NULL;
    if (a)
        a->path = gr_strdup(path);
    rc = a && a->path ? gr_adapter_gguf_is(&file, path, err) : gr_nomem(err, path);
    if (!rc)
        rc = file ? gr_adapter_gguf_open(a, err) : open_dir(a, err);
    if (rc) {
        gr_adapter_close(a);
        return rc;
    }
    *out = a;
    return GRAM_OK;
}

void gr_adapter_close(gr_adapter *a)
{
    if (!a)
        return;
    gr_st_close(a->st);
    gr_st_close(a->head_st);
    gr_weights_close(a->gguf);
    free(a->arch);
    gr_adapter_config_clear(&a->cfg);
    free(a->path);
    free(a);
}

bool gr_adapter_in_pairs(const gr_adapter *a)
{
    return a->arch && !strcmp(a->arch, "llama");
}

bool gr_adapter_has_head(const gr_adapter *a)
{
    return a->head.rows > 0;
}

/* The whole name of a tensor of the head in a->st. */
static void part_name(char out[128], const gr_head_part *p)
{
    snprintf(out, 128, GR_ADAPTER_STEM "%s", p->name);
}

gram_status gr_adapter_head_part(const gr_named **out, const gr_adapter *a, size_t width, size_t at, gram_err *err)
{
    const gr_named *t = NULL;
    gr_head_part p;
    char name[128];

    for (size_t i = 0; gr_head_part_at(&a->head, width, i, &p); i++) {
        if (p.at != at)
            continue;
        part_name(name, &p);
        t = a->head_st ? gr_st_find(a->head_st, p.name) : gr_st_find(a->st, name);
        break;
    }
    *out = t;
    if (!t)
        return gr_fail(err, GRAM_EFORMAT, "%s: a tensor of the reward head %s is missing", a->path, a->head.out);
    if (gr_named_tensor(t).rows != (p.bias ? 1 : p.rows) || gr_named_tensor(t).cols != p.cols)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor %s: wanted [%zu, %zu], found %zu dimensions of %zu numbers",
                       a->path, t->name, p.rows, p.cols, t->n_dims,
                       gr_named_tensor(t).rows * gr_named_tensor(t).cols);
    return GRAM_OK;
}

bool gr_adapter_is_head_tensor(const gr_adapter *a, const char *name)
{
    gr_head_part p;
    char full[128];

    for (size_t i = 0; !a->head_st && gr_head_part_at(&a->head, 0, i, &p); i++) {
        part_name(full, &p);
        if (!strcmp(full, name))
            return true;
    }
    return a->head.rows && strstr(name, ".original_module.") != NULL;
}

size_t gr_adapter_head_tensors(const gr_adapter *a)
{
    size_t n = 0;

    for (size_t i = 0; i < gr_adapter_count(a); i++)
        n += gr_adapter_is_head_tensor(a, gr_adapter_at(a, i)->name);
    return n;
}

/* Two rows are PURM's where the file's metadata say so. */
static gram_status take_head(gr_config *c, const gr_adapter *a, const gr_head_asked *q, gram_err *err)
{
    const gr_st *st = a->head_st ? a->head_st : a->st;
    char *mark = NULL;
    bool purm;
    gram_status rc;

    if (!a->head.rows)
        return GRAM_OK;
    rc = gr_st_meta(gr_st_path(st), "gram_reward_head", &mark, err);
    purm = mark && !strcmp(mark, GR_PURM_MARK);
    free(mark);
    if (rc)
        return rc;
    c->head = a->head;
    c->said.labels = -1;                    /* what the base's configuration says is of the base */
    if (c->said.end == GR_SAYS_WORDS)
        c->said.end = GR_SAYS_NOTHING;
    rc = gr_config_take_head(c, NULL, gr_st_path(st), purm, q->weights, err);
    c->head = gr_head_renamed(&a->head);
    c->new_head = true;                     /* of the base's weights */
    return rc;
}

static gram_status check_arch(const gr_config *c, const gr_adapter *a, const gr_weights *w, gram_err *err)
{
    const gr_arch_row *row = gr_arch_of(c->architecture);
    const char *base = row->gguf ? row->gguf : row->name;

    if (!a->arch || !strcmp(a->arch, base))
        return GRAM_OK;
    return gr_fail(err, GRAM_EARG, "%s: an adapter of a model of the architecture %s, and the base %s is %s", a->path,
                   a->arch, gr_weights_path(w), base);
}

gram_status gr_config_open(gr_config *out, const gr_weights *w, const gr_adapter *a, const gr_head_asked *q,
                           gram_err *err)
{
    const gr_gguf *g = gr_weights_gguf(w);
    gram_status rc = g ? gr_config_from_gguf(out, g, w, err) : gr_config_read(out, gr_weights_path(w), err);

    if (!rc && !g)
        rc = gr_config_check_packed(out, w, err);
    if (!rc && a)
        rc = check_arch(out, a, w, err);
    if (!rc && a)
        rc = take_head(out, a, q, err);
    if (!rc)
        rc = gr_config_settle(out, w, q, err);
    if (!rc && a && !a->gguf)
        rc = gr_beside_check(out, a->path, err);
    if (!rc && !g)
        rc = gr_beside_check(out, gr_weights_path(w), err);
    if (rc)
        gr_config_clear(out);
    return rc;
}

gram_status gr_adapter_base(char **out, const gr_adapter *a, const char *given, gram_err *err)
{
    const char *base = given ? given : a->cfg.base;
    char *beside;

    *out = NULL;
    if (!base && a->gguf)
        return gr_fail(err, GRAM_EARG, "%s: a LoRA adapter, which is no model without its base, and a GGUF does not "
                                       "name "
                       "that: `base` does", a->path);
    if (!base)
        return gr_fail(err, GRAM_EARG, "%s: " GR_ADAPTER_CONFIG " names no base model: `base` does", a->path);
    beside = given || *base == '/' ? NULL : gr_path_join(a->path, base);
    if (!beside && !given && *base != '/')
        return gr_nomem(err, a->path);
    if (beside && gr_path_exists(beside)) {
        *out = beside;
        return GRAM_OK;
    }
    free(beside);
    if (given || gr_path_exists(base)) {
        *out = gr_strdup(base);
        return *out ? GRAM_OK : gr_nomem(err, a->path);
    }
    return gr_fail(err, GRAM_EIO, "%s: its base model %s is not there, nor beside it: `base` names the directory or "
                   "file", a->path, base);
}
