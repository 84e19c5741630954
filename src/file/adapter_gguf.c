/* adapter_gguf.c - a LoRA adapter in a GGUF file, as llama.cpp's convert_lora_to_gguf writes it.
 *
 *     general.type "adapter"    adapter.type "lora"    adapter.lora.alpha
 *     blk.0.attn_q.weight.lora_a [rank, K]    .lora_b [O, rank]    of each matrix that has one
 *
 * The scale is alpha / rank. The file names no base; its tensors bear GGUF's names, and rows of q and k of "llama" lie
 * as they do in a GGUF. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/adapter.h"
#include "file/file_int.h"
#include "file/tensors.h"

static bool is_word(const gr_gguf *g, const char *key, const char *word)
{
    gr_str s;

    return gr_gguf_str(g, key, &s) && gr_str_is(s, word);
}

static bool starts_as_gguf(const char *path)
{
    FILE *f = gr_path_regular(path) ? fopen(path, "rb") : NULL;
    char magic[4];
    bool yes = f && fread(magic, 1, sizeof magic, f) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic);

    if (f)
        fclose(f);
    return yes;
}

/* A file that cannot be read is none: whoever opens it as a model says why. */
gram_status gr_adapter_gguf_is(bool *yes, const char *path, gram_err *err)
{
    gr_gguf *g = NULL;
    gram_err why;
    gram_status rc = starts_as_gguf(path) ? gr_gguf_open(&g, path, &why) : GRAM_OK;

    *yes = g && (is_word(g, "general.type", "adapter") || gr_gguf_has(g, "adapter.type"));
    gr_gguf_close(g);
    return rc == GRAM_ENOMEM ? gr_nomem(err, path) : GRAM_OK;
}

static gram_status read_config(gr_adapter *a, gram_err *err)
{
    const gr_gguf *g = gr_weights_gguf(a->gguf);
    gr_str arch;

    if (!is_word(g, "adapter.type", "lora"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key adapter.type: wanted \"lora\": another kind of adapter is not "
                       "supported", a->path);
    if (gr_gguf_has(g, "adapter.alora.invocation_tokens"))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key adapter.alora.invocation_tokens: an adapter that counts behind "
                       "certain tokens alone is not supported", a->path);
    if (!gr_gguf_str(g, "general.architecture", &arch))
        return gr_fail(err, GRAM_EFORMAT, "%s: key general.architecture is missing", a->path);
    a->arch = gr_strndup(arch.p, arch.n);
    if (!a->arch)
        return gr_nomem(err, a->path);
    if (!gr_gguf_f64(g, "adapter.lora.alpha", &a->cfg.alpha) || !(a->cfg.alpha > 0) || !(a->cfg.alpha <= 1e9))
        return gr_fail(err, GRAM_EFORMAT, "%s: key adapter.lora.alpha: wanted a positive number up to 1e9", a->path);
    for (size_t i = 0; i < gr_weights_count(a->gguf); i++) {
        const gr_named *t = gr_weights_at(a->gguf, i);
        size_t n = strlen(t->name);
        if (n > 7 && !strcmp(t->name + n - 7, ".lora_a") && t->n_dims == 2)
            a->cfg.rank = gr_max(a->cfg.rank, t->dim[0]);
    }
    return a->cfg.rank ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "%s: none of its %zu tensors is a matrix whose name ends "
                                           "in .lora_a", a->path, gr_weights_count(a->gguf));
}

gram_status gr_adapter_gguf_open(gr_adapter *a, gram_err *err)
{
    gram_status rc = gr_weights_open_gguf(&a->gguf, a->path, err);

    return rc ? rc : read_config(a, err);
}

/* PEFT's name of a tensor in the words of GGUF; false where it is none of a matrix in a layer. */
static bool gguf_name(char *out, size_t size, const char *name, const char *arch)
{
    gr_config of = { 0 };                   /* its architecture is all that counts */
    const char *at = strstr(name, ".layers.");
    unsigned long layer = at ? strtoul(at + 8, NULL, 10) : 0;

    if (!gr_arch_by_gguf(&of.architecture, arch, strlen(arch)))
        of.architecture = GR_ARCH_LLAMA;    /* most call matrices the same */
    for (gr_tensor_kind t = GR_T_Q; at && t <= GR_T_DOWN; t++) {
        char peft[96], gguf[96];
        size_t n;
        gr_tensor_stem_written(&of, false, t, layer, peft, sizeof peft);
        n = strlen(peft) - strlen("model");
        if (strncmp(at, peft + strlen("model"), n) ||
            (strcmp(at + n, ".lora_A.weight") && strcmp(at + n, ".lora_B.weight")))
            continue;
        gr_tensor_stem_written(&of, true, t, layer, gguf, sizeof gguf);
        snprintf(out, size, "%s.weight.lora_%c", gguf, at[n + 6] == 'A' ? 'a' : 'b');
        return true;
    }
    return false;
}

const gr_named *gr_adapter_find(const gr_adapter *a, const char *name)
{
    char own[128];

    if (!a->gguf)
        return gr_st_find(a->st, name);
    return gguf_name(own, sizeof own, name, a->arch) ? gr_weights_find(a->gguf, own) : NULL;
}

size_t gr_adapter_count(const gr_adapter *a)
{
    return a->gguf ? gr_weights_count(a->gguf) : gr_st_count(a->st);
}

const gr_named *gr_adapter_at(const gr_adapter *a, size_t i)
{
    return a->gguf ? gr_weights_at(a->gguf, i) : gr_st_at(a->st, i);
}
