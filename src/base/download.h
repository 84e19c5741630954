/* download.h - pages and files over HTTPS, by libcurl, which is opened when the first is asked for
 * (docs/decisions/0016-libcurl.md). file:// works as well. No message shows the name and password of an address. */
#ifndef GR_BASE_DOWNLOAD_H
#define GR_BASE_DOWNLOAD_H

#include "base/mem.h"
#include "gram/error.h"

typedef struct {
    const char *cert;           /* file of the authorities to trust; NULL: libcurl's own */
    const char *proxy;          /* NULL: what the environment says */
    int (*progress)(void *arg, uint64_t done, uint64_t total);      /* total 0: not known. Non-zero: GRAM_ESTOPPED */
    void *arg;
} gr_download;

/* The text of a page; *at is the address that gave it in the end, malloc'ed. */
gram_status gr_download_page(const gr_download *d, const char *url, gr_buf *body, char **at, gram_err *err);

/* A file, into fd from its end on, so that what is there is not fetched again; a server that gives files only whole
 * begins anew. A connection that breaks is taken up again some times, as long as bytes come. name: the file's. */
gram_status gr_download_file(const gr_download *d, const char *url, int fd, const char *name, gram_err *err);

/* Where a link of the page at `base` leads, malloc'ed: absolute, without a fragment, and with the name and password of
 * the page where it has the page's host and none of its own. */
gram_status gr_download_join(char **out, const char *base, const char *link, gram_err *err);

#endif
