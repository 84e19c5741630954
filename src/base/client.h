/* client.h - the other end: one request to a `gram serve`, for `gram score --server` and for judges that are far
 * away. */
#ifndef GR_BASE_CLIENT_H
#define GR_BASE_CLIENT_H

#include "base/mem.h"
#include "gram/error.h"

/* POSTs JSON to url (http://HOST[:PORT][/PREFIX]) + path, and waits and asks again where the server is busy, loading or
 * not yet there, up to a minute or so. On success *answer is the body of a 200; key may be NULL. A refusal is
 * GRAM_EARG with the server's sentence where the request was at fault (4xx), and GRAM_EIO otherwise. *status, where not
 * NULL, gets the HTTP status, 0 where there was no answer. */
gram_status gr_client_post(const char *url, const char *key, const char *path, const char *body, gr_buf *answer,
                           int *status, gram_err *err);

#endif
