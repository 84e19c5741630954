/* merge.c - gram_merge(): a whole model of a base and its adapter. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "file/save.h"
#include "gram/train.h"
#include "model/lora.h"

static gram_status check(const struct checkpoint *c, const char *path, gram_err *err)
{
    if (!c->adapter)
        return gr_fail(err, GRAM_EARG, "%s: no LoRA adapter: it has no adapter_config.json", path);
    if (*c->cfg.prefix)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: only the text half of this model would be written, and its "
                       "directory asks for both", c->base);
    return GRAM_OK;
}

/* The template that lies beside an adapter, in the place where it wins over the base's. */
static gram_status write_chat(const char *jinja, const char *out, gram_err *err)
{
    char *path = gr_path_join(out, "chat_template.jinja");
    gram_status rc = path ? gr_write_file(path, jinja, strlen(jinja), err) : gr_nomem(err, out);

    free(path);
    return rc;
}

/* The files beside the weights come first: a directory with weights is whole. */
static gram_status write_model(struct checkpoint *c, const char *adapter, const char *out, const char *path, bool bf16,
                               gram_err *err)
{
    gr_config cfg = c->cfg;
    gram_status rc = gr_write_model_files(c->base, out, bf16 ? "bfloat16" : "float32", &cfg, err);

    if (!rc && c->own_words)
        rc = gr_copy_words(adapter, out, err);
    if (!rc && c->own_chat && c->chat.jinja)
        rc = write_chat(c->chat.jinja, out, err);
    if (!rc)
        rc = gr_checkpoint_write_card(c, out, err);
    if (rc)
        return rc;
    c->cfg = (gr_config){ 0 };
    return gr_lora_merge(path, c->weights, &cfg, c->adapter, bf16 ? GR_BF16 : GR_F32, err);
}

gram_status gram_merge(const char *adapter, const char *base, const char *out, gram_dtype dtype, gram_err *err)
{
    struct checkpoint c;
    char *path;
    gram_status rc;

    if (dtype != GRAM_F32 && dtype != GRAM_BF16)
        return gr_fail(err, GRAM_EARG, "%s: a merged model is written in f32 or bf16; another dtype was asked "
                       "for", out);
    path = gr_path_join(out, "model.safetensors");
    rc = path ? gr_checkpoint_open(&c, adapter, &(gram_options){ .base = base }, err) : gr_nomem(err, out);
    if (rc) {
        free(path);
        return rc;
    }
    rc = check(&c, adapter, err);
    if (!rc)
        rc = gr_make_directory(out, err);
    if (!rc)
        rc = gr_weights_check_none(out, err);
    if (!rc)
        rc = write_model(&c, adapter, out, path, dtype == GRAM_BF16, err);
    gr_checkpoint_clear(&c);
    free(path);
    return rc;
}
