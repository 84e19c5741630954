/* json.h - JSON as text. */
#ifndef GR_BASE_JSON_H
#define GR_BASE_JSON_H

#include <stddef.h>

/* What json_dumps() gives, malloc'ed; NULL where o is NULL or memory ran out. json_dumps() itself heeds only some of
 * its failures, and then gives a text that lacks a key. */
struct json_t;
char *gr_json_text(const struct json_t *o, size_t flags);
/* json_loadb() of what comes after a byte-order mark, which JSON has none of. */
struct json_error_t;
struct json_t *gr_json_loadb(const char *text, size_t n, size_t flags, struct json_error_t *e);
struct json_t *gr_json_real(double x);          /* null where x is not finite, which JSON has no word for */

#endif
