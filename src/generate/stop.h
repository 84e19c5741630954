/* stop.h - where an answer ends, and which of its bytes can be shown before it has. */
#ifndef GR_GENERATE_STOP_H
#define GR_GENERATE_STOP_H

#include "base/mem.h"

/* Borrowed. The ids that end an answer (they belong to it, and are not in its text), and strings at the first of which
 * its text is cut. */
typedef struct {
    const int32_t *id;
    size_t n_ids;
    const char *const *text;
    size_t n_texts;
} gr_stops;

/* GRAM_EARG: an empty string, which every text has, or one that is not UTF-8 and no text can have. */
gram_status gr_stops_check(const gr_stops *s, gram_err *err);
bool gr_stops_at(const gr_stops *s, int32_t id);
/* Cuts the text where the first stop string begins, which ends in the `newest` bytes that were added last. */
bool gr_stops_cut(const gr_stops *s, gr_buf *text, size_t newest);
/* How many bytes of a text that goes on may be shown: not what may begin a stop string, and whole characters only. */
size_t gr_stops_settled(const gr_stops *s, const gr_buf *text);

#endif
