/* chat_int.h - the two ways to render, for the files of this folder. */
#ifndef GR_TEXT_CHAT_INT_H
#define GR_TEXT_CHAT_INT_H

#include "text/chat.h"

/* chat_run.c: by the checkpoint's own template. */
gram_status gr_chat_run(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, bool answered,
                        gr_chat_text *out, gram_err *err);

#endif
