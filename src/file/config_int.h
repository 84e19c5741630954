/* config_int.h - what the two readers of a configuration share: the limits, and rope's inverse frequencies. */
#ifndef GR_FILE_CONFIG_INT_H
#define GR_FILE_CONFIG_INT_H

#include "file/config.h"

/* Caps that no model comes near and no product of two overflows. */
enum {
    MAX_LAYERS = 4096, MAX_HEADS = 1 << 16, MAX_HEAD_DIM = 1 << 14, MAX_WIDTH = 1 << 20, MAX_HIDDEN = 1 << 24,
    MAX_VOCABULARY = 1 << 24, MAX_CONTEXT = 1 << 28, MAX_EXPERTS = 1 << 12
};

gram_status gr_rope_freq(float **out, const gr_rope *r, size_t rope_dim, gram_err *err);
/* Of GR_ROPE_LONG: c->inv_freq, c->far.freq from c->rope, c->far.shorts and c->far.longs. */
gram_status gr_rope_far(gr_config *c, gram_err *err);
/* sqrt(1 + ln s / ln original), by which LongRoPE multiplies cos and sin of a context s times as long. */
double gr_rope_attention(double s, double original);
/* 1 + 0.1 m ln factor, of which YaRN's attention factor is made; 1 where factor is no more than 1. */
double gr_rope_mscale(double factor, double m);
/* What the i-th unscaled frequency is divided by: of linear rope, and of llama3's. */
double gr_rope_factor(const gr_rope *r, size_t i, size_t rope_dim);
/* The llama3 scaling whose factors for r->theta are those, within what float32 tells apart; false where there is none.
 * `original`, where not 0, is what the file says of it; otherwise it may be any that gives these factors. */
bool gr_rope_recognise(gr_rope *r, const float *factor, size_t rope_dim, double original);

/* What follows from the architecture and the width alone; norms as a Hugging Face file holds them. */
void gr_config_of_arch(gr_config *c);
/* The last checks, alike for both: name is the file's. kv_heads divides heads, head_dim is even, ... */
gram_status gr_config_check(gr_config *c, const char *name, gram_err *err);

/* Enough experts for those that a token gets. */
gram_status gr_config_check_experts(const gr_config *c, const char *name, gram_err *err);

/* Keys of a config.json, the whole and its language model's part: one that changes numbers and is not done here fails;
 * keys that nobody knows are noted. */
struct json_t;
gram_status gr_config_check_keys(gr_config *c, const char *name, struct json_t *top, struct json_t *text,
                                 gram_err *err);

/* Whether the name of a key that nobody knows says that it has to do with numbers. */
bool gr_config_of_numbers(const char *key);

/* A cap that was read under `key`, 0 being none: one that float32 can divide by, or it fails. */
gram_status gr_config_take_cap(float *out, double x, const char *name, const char *key, gram_err *err);

/* A factor that was read under `key`: one that float32 can multiply and divide by, or it fails. */
gram_status gr_config_take_factor(float *out, double x, const char *name, const char *key, gram_err *err);

/* What llama.cpp multiplies q.k by: no key says so, and in the largest Gemmas it is the width that decides. */
float gr_config_gguf_scale(const gr_config *c);

/* Whether layers without a window stand beside others with one. */
bool gr_config_slides_in_part(const gr_config *c);

/* "architecture "mamba" is not supported; supported: ..." */
gram_status gr_config_refuse(const char *name, const char *architecture, gram_err *err);

#endif
