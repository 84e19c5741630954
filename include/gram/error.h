/* error.h - how every call of libgram says that it failed.
 *
 * A call that can fail returns a gram_status and takes a gram_err as its last argument. Zero is
 * success. On failure err->text is one sentence that names the file, line or tensor, what was
 * wanted and what was found. err may be NULL when only the status is of interest. */
#ifndef GRAM_ERROR_H
#define GRAM_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    GRAM_OK = 0,
    GRAM_EARG,              /* the caller asked for something that cannot be meant */
    GRAM_ENOMEM,            /* an allocation failed; nothing was lost */
    GRAM_EIO,               /* the system refused to read or write */
    GRAM_EFORMAT,           /* a file is not what its format promises */
    GRAM_EUNSUPPORTED,      /* well formed, but of a kind this build does not know */
    GRAM_ELIMIT,            /* too long for the model or for max_tokens */
    GRAM_ESTOPPED,          /* a callback asked to stop; what was finished is kept */
    GRAM_EBUSY              /* no room now; the same call may work later */
} gram_status;

typedef struct {
    gram_status status;
    char text[1024];        /* UTF-8, NUL-terminated, no newline at its end */
} gram_err;

/* A short English name of a status ("out of memory"); never NULL. */
#pragma GCC visibility push(default)
const char *gram_status_name(gram_status status);
#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif
#endif
