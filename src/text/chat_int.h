/* chat_int.h - the two ways to render, for the files of this folder. */
#ifndef GR_TEXT_CHAT_INT_H
#define GR_TEXT_CHAT_INT_H

#include "text/chat.h"

/* chat_render.c: the last n bytes of the text as a piece, or with `join` as part of the one before, where that is
 * alike. */
bool gr_chat_piece_add(gr_chat_text *t, bool special, bool join, size_t n);

/* chat_run.c: by the checkpoint's own template. */
gram_status gr_chat_run(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, bool answered,
                        gr_chat_text *out, gram_err *err);

#endif
