/* adapter.h - a LoRA adapter: a directory as PEFT writes it, adapter_config.json and adapter_model.safetensors, or a
 * GGUF file as llama.cpp's converter writes it.
 *
 * They come from strangers. What PEFT can do to a model and gram cannot (initial values that change the base,
 * embeddings) is refused by name, never left out. */
#ifndef GR_FILE_ADAPTER_H
#define GR_FILE_ADAPTER_H

#include "base/mem.h"
#include "file/config.h"

#define GR_ADAPTER_CONFIG  "adapter_config.json"
#define GR_ADAPTER_WEIGHTS "adapter_model.safetensors"
#define GR_ADAPTER_BESIDE  "gram_base"                         /* metadata: gr_weights_digest() of its base */
#define GR_ADAPTER_STEM    "base_model.model."                  /* before the model's own name of a tensor */

typedef struct {
    char *base;                 /* base_model_name_or_path, owned; NULL: it says none */
    size_t rank;                /* r, from 1; a matrix may have another, which its tensors say */
    double alpha;               /* lora_alpha, positive; of one matrix gr_adapter_config_alpha() */
    bool root;                  /* use_rslora: the scale is alpha / sqrt(rank), otherwise alpha / rank */
    double dropout;             /* lora_dropout, from 0, below 1: of training alone */
    bool says_head;             /* task_type or modules_to_save say that a reward head was trained with it */
    char **parameters;          /* target_parameters, NULL-terminated; NULL: none */
    struct gr_alpha *alphas;    /* alpha_pattern */
    size_t n_alphas;
    bool dora;                  /* use_dora: each row of the sum has the length that a vector gives it */
    enum { GR_BIASES_BASE, GR_BIASES_ADAPTED, GR_BIASES_ALL } biases;       /* "bias": which it brings along */
} gr_adapter_config;
/* From bytes that were read from the file called `name`. On failure nothing is left to clear. */
gram_status gr_adapter_config_parse(gr_adapter_config *out, const char *name, const char *json, size_t n,
                                    gram_err *err);
void gr_adapter_config_clear(gr_adapter_config *c);
/* Whether target_parameters name this one, "model.layers.0.mlp.experts.down_proj": whole, or its end after a dot. */
bool gr_adapter_config_targets(const gr_adapter_config *c, const char *parameter);
/* The alpha of a module or parameter of this name: the first of alpha_pattern that matches, otherwise lora_alpha. */
gram_status gr_adapter_config_alpha(double *out, const gr_adapter_config *c, const char *name, gram_err *err);
/* DIR/adapter_config.json for what gram trains: the modules of the `targets`, NULL-terminated, and c's parameters;
 * head: a score head was trained whole, beside them. */
gram_status gr_adapter_config_write(const char *dir, const gr_adapter_config *c, const char *const *targets, bool head,
                                    gram_err *err);

typedef struct gr_adapter {
    char *path;                 /* the directory or the file */
    gr_adapter_config cfg;
    gr_st *st;                  /* its tensors, by PEFT's names; NULL: those of gguf */
    gr_weights *gguf;
    char *arch;                 /* of gguf: the architecture of its base, as GGUF calls it */
    gr_st *head_st;             /* value_head.safetensors beside them, as LLaMA-Factory writes it; NULL: none */
    gr_head_form head;          /* rows 0: none. Of st its names stand behind GR_ADAPTER_STEM */
} gr_adapter;
/* Whether an adapter is there: a directory with adapter_config.json, or a GGUF that says so. Fails without memory. */
gram_status gr_adapter_is(bool *yes, const char *path, gram_err *err);
gram_status gr_adapter_open(gr_adapter **out, const char *path, gram_err *err);
/* Its tensors; by PEFT's name, whatever the file calls them. */
size_t gr_adapter_count(const gr_adapter *a);
const gr_named *gr_adapter_at(const gr_adapter *a, size_t i);
const gr_named *gr_adapter_find(const gr_adapter *a, const char *name);         /* NULL: none */
/* The rows of B of q and k lie as a GGUF has them, pairs side by side. */
bool gr_adapter_in_pairs(const gr_adapter *a);
void gr_adapter_close(gr_adapter *a);
bool gr_adapter_has_head(const gr_adapter *a);  /* a reward head, trained whole beside A and B */
/* The tensor that is part `at` of the head, for a base of this width. */
gram_status gr_adapter_head_part(const gr_named **out, const gr_adapter *a, size_t width, size_t at, gram_err *err);
/* How many of its tensors are of the head, or of no account beside it: the head as it was before training, which
 * older versions of PEFT save too. */
size_t gr_adapter_head_tensors(const gr_adapter *a);
bool gr_adapter_is_head_tensor(const gr_adapter *a, const char *name);
/* The configuration of a checkpoint's files, the base's where there is an adapter, with its head settled. */
gram_status gr_config_open(gr_config *out, const gr_weights *w, const gr_adapter *a, const gr_head_asked *q,
                           gram_err *err);
/* The path of the base model, malloc'ed: `given` where it is not NULL, otherwise what the configuration names, from the
 * adapter's directory if it is there, or as it stands. Fails where there is no such file. */
gram_status gr_adapter_base(char **out, const gr_adapter *a, const char *given, gram_err *err);

#endif
