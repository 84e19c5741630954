/* adapter.h - the directory of a LoRA adapter as PEFT writes it: adapter_config.json and adapter_model.safetensors.
 *
 * Both come from strangers. What PEFT can do to a model and gram cannot (DoRA, biases, initial values that change the
 * base) is refused by name, never left out. */
#ifndef GR_FILE_ADAPTER_H
#define GR_FILE_ADAPTER_H

#include "base/mem.h"
#include "file/config.h"

#define GR_ADAPTER_CONFIG  "adapter_config.json"
#define GR_ADAPTER_WEIGHTS "adapter_model.safetensors"
#define GR_ADAPTER_STEM    "base_model.model."                  /* before the model's own name of a tensor */

typedef struct {
    char *base;                 /* base_model_name_or_path, owned; NULL: it says none */
    size_t rank;                /* r, from 1; a matrix may have another, which its tensors say */
    double alpha;               /* lora_alpha, positive */
    bool root;                  /* use_rslora: the scale is alpha / sqrt(rank), otherwise alpha / rank */
    double dropout;             /* lora_dropout, from 0, below 1: of training alone */
} gr_adapter_config;
/* From bytes that were read from the file called `name`. On failure nothing is left to clear. */
gram_status gr_adapter_config_parse(gr_adapter_config *out, const char *name, const char *json, size_t n,
                                    gram_err *err);
void gr_adapter_config_clear(gr_adapter_config *c);
/* DIR/adapter_config.json for what gram trains: the modules of the `targets`, NULL-terminated; head: a score head was
 * trained whole, beside them. */
gram_status gr_adapter_config_write(const char *dir, const gr_adapter_config *c, const char *const *targets, bool head,
                                    gram_err *err);

typedef struct {
    char *path;                 /* the directory */
    gr_adapter_config cfg;
    gr_st *st;                  /* its tensors, by PEFT's names */
} gr_adapter;
bool gr_adapter_is(const char *dir);            /* adapter_config.json is there */
gram_status gr_adapter_open(gr_adapter **out, const char *dir, gram_err *err);
void gr_adapter_close(gr_adapter *a);
bool gr_adapter_has_head(const gr_adapter *a);  /* a reward head, trained whole beside A and B */
/* Says in *c what reward head the adapter brings, if it does. Two rows are PURM's where the file's metadata say so. */
gram_status gr_adapter_reward(gr_config *c, const gr_adapter *a, gram_err *err);
/* The path of the base model, malloc'ed: `given` where it is not NULL, otherwise what the configuration names, from the
 * adapter's directory if it is there, or as it stands. Fails where there is no such file. */
gram_status gr_adapter_base(char **out, const gr_adapter *a, const char *given, gram_err *err);

#endif
