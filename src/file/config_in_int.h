/* config_in_int.h - a config.json on its way in: config.c reads it, config_layers.c what may differ between layers. */
#ifndef GR_FILE_CONFIG_IN_INT_H
#define GR_FILE_CONFIG_IN_INT_H

#include <jansson.h>
#include "file/arch.h"
#include "file/config_int.h"

#define CONFIG_LIMIT ((size_t)16 << 20)        /* bytes of a config.json */

/* One file on its way in. */
struct gr_config_in {
    const char *name;
    json_t *top;                    /* the whole object */
    json_t *text;                   /* the language model's part: top, or its text_config */
    const gr_arch_row *row;
};

/* The value of a key; NULL where it is absent or null. */
json_t *gr_in_get(json_t *o, const char *key);
/* A whole number from 1 to max. */
gram_status gr_in_size(const struct gr_config_in *in, const char *key, size_t otherwise, size_t max, size_t *out,
                       gram_err *err);
/* A positive, finite number of `o`; otherwise 0: the key must be there. */
gram_status gr_in_number(const struct gr_config_in *in, json_t *o, const char *key, double otherwise, double *out,
                         gram_err *err);
gram_status gr_in_bool(const struct gr_config_in *in, json_t *o, const char *key, bool otherwise, bool *out,
                       gram_err *err);

/* "quantization_config", into c->said.quantization. */
gram_status gr_config_check_packing(const struct gr_config_in *in, gr_config *c, gram_err *err);
gram_status gr_config_read_ropes(const struct gr_config_in *in, gr_config *c, gram_err *err);
gram_status gr_config_read_bare(const struct gr_config_in *in, gr_config *c, gram_err *err);
gram_status gr_config_read_windows(const struct gr_config_in *in, gr_config *c, gram_err *err);
gram_status gr_config_read_experts(const struct gr_config_in *in, gr_config *c, gram_err *err);

#endif
