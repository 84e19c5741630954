/* utf8.h - UTF-8, and the few words about characters that the tokenizer needs. */
#ifndef GR_TEXT_UTF8_H
#define GR_TEXT_UTF8_H

#include "base/utf8.h"

bool gr_char_space(int32_t c);                          /* Unicode White_Space */
bool gr_char_numeric(int32_t c);                        /* Nd, Nl, No */
bool gr_char_mark(int32_t c);                           /* Mn, Mc, Me */
bool gr_char_word(int32_t c);                           /* \w: letters, marks, digits, connectors, joiners */
bool gr_char_punct(int32_t c);                          /* ASCII punctuation and P* */

#endif
