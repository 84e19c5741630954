/* keys.h - a YAML file that is one mapping of keys to single values, or to lists of them where a key takes several
 * files, and what is set over it. The table of options (gram/train.h) says what a value must be and where it goes. */
#ifndef GR_API_KEYS_H
#define GR_API_KEYS_H

#include "api/api_int.h"

typedef struct { const char *name; const gram_option *option; } gr_key;
typedef struct gr_keys gr_keys;

/* key[n] and their names live as long as *out. set[n_set]: "key=value", which go before what the file says and whose
 * paths are relative to the working directory; those of the file are relative to it. A key that is not known fails with
 * its line and the nearest one. */
gram_status gr_keys_open(gr_keys **out, const char *path, const gr_key *key, size_t n, const char *const *set,
                         size_t n_set, gram_err *err);
void gr_keys_close(gr_keys *k);                         /* NULL is fine */
const char *gr_keys_value(const gr_keys *k, size_t i);  /* the first one's text; NULL: nothing is said */
/* Sets the option that the key i is; `base` is what its place counts from. Strings live as long as k. Nothing happens
 * where nothing is said. A value that cannot be meant fails with file, line and key. */
gram_status gr_keys_take(gr_keys *k, size_t i, void *base, gram_err *err);
/* GRAM_EARG, "run.yaml:3: key "lr": why". */
bool gr_keys_is_set(const gr_keys *k, size_t i);        /* over the file */
gram_status gr_keys_wrong(const gr_keys *k, size_t i, const char *why, gram_err *err);
/* The same with what was wanted and found. */
gram_status gr_keys_wrong_value(const gr_keys *k, size_t i, gram_err *err);

#endif
