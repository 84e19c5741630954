/* zip.h - one file out of a zip archive, such as a wheel, which comes from strangers. Zip64 and encryption are refused
 * by name. */
#ifndef GR_FILE_ZIP_H
#define GR_FILE_ZIP_H

#include <stddef.h>
#include "gram/error.h"

typedef gram_status gr_zip_fn(void *arg, const void *p, size_t n, gram_err *err);
/* Hands the bytes of the member of this name to fn, in order. When it succeeds they are as many as the archive says and
 * have its CRC; fn may have had some when it fails. name: the archive's, for errors. */
gram_status gr_zip_read(const unsigned char *zip, size_t n, const char *name, const char *member, gr_zip_fn *fn,
                        void *arg, gram_err *err);

#endif
