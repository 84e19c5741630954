/* assets.h - the files of web/ and the library that its drawings are made with, compiled in. */
#ifndef GR_SERVE_ASSETS_H
#define GR_SERVE_ASSETS_H

#include <stddef.h>

typedef struct { const char *path, *type, *begin, *end; } gr_asset;
extern const gr_asset gr_assets[];
extern const size_t gr_n_assets;
extern const gr_asset gr_dashboard_assets[];        /* of the page of `gram watch` */
extern const size_t gr_n_dashboard_assets;
extern const char gr_page_policy[];     /* the Content-Security-Policy: everything from here, nothing from elsewhere */

#endif
