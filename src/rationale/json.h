/* json.h - a reasoned verdict as the keys of a JSON object, and back. */
#ifndef GR_RATIONALE_JSON_H
#define GR_RATIONALE_JSON_H

#include "gram/rationale.h"

struct json_t;
/* Puts into o what a reasoned verdict has more than a plain one; false where memory ran out. */
bool gr_reasoned_put(struct json_t *o, const gram_reasoned *v, uint64_t seed);
/* The rationales of such an object, and what follows from them; logits and seeds are not there. *why says what was
 * wanted, and is static, where it fails with GRAM_EFORMAT. */
gram_status gr_reasoned_get(const struct json_t *o, gram_reasoned *out, const char **why);

#endif
