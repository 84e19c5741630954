/* pack.h - lines compressed as the name of their file says. */
#ifndef GR_FILE_PACK_H
#define GR_FILE_PACK_H

#include "base/mem.h"

typedef enum { GR_PACK_NONE, GR_PACK_GZIP, GR_PACK_ZSTD } gr_packing;
/* By the name's ending: ".gz", ".zst". */
gr_packing gr_packing_of(const char *name);
/* By the first n bytes of what may be packed; 4 are enough. */
gr_packing gr_packing_by(const void *first, size_t n);
/* All that `from` holds, from its beginning, to `to`. name: of what is written, for errors. */
gram_status gr_pack(int from, int to, gr_packing how, const char *name, gram_err *err);

#endif
