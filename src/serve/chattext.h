/* chattext.h - a prompt as some chat template made it, back into its messages.
 *
 * A trainer's policy may have another template than the judge. Its prompt comes as text that ends with the header of
 * the answer; the policy wrote nothing in it. */
#ifndef GR_SERVE_CHATTEXT_H
#define GR_SERVE_CHATTEXT_H

#include "serve/req.h"

/* The turns of text[0, n): of the checkpoint's own template, or of a known family's, whose marks then stand at both its
 * ends. out->n is 0 where it is neither. The strings live as long as the request. Returns 0 or a refusal. */
int gr_chattext_prompt(gr_req *r, const char *text, size_t n, gram_prompt *out);
/* Takes end-of-turn and padding tokens off the end of an answer, in place. */
void gr_chattext_strip(char *answer);

#endif
