/* assets.c - see assets.h. The assembler reads the files, so that the build needs no tool to turn bytes into C; the
 * Makefile knows that this object depends on them. Paths count from the root of the project, where make runs; D3 and
 * its licence are where Debian's libjs-d3 puts them. */
#include "base/mem.h"
#include "serve/assets.h"

#define ASSET(name, file)                                                                               \
    extern const char gr_asset_##name[], gr_asset_##name##_end[];                                       \
    __asm__(".pushsection .rodata\n"                                                                    \
            ".hidden gr_asset_" #name "\n.hidden gr_asset_" #name "_end\n"                              \
            ".globl gr_asset_" #name "\n.globl gr_asset_" #name "_end\n"                                \
            "gr_asset_" #name ":\n.incbin \"" file "\"\ngr_asset_" #name "_end:\n.byte 0\n"         \
            ".popsection\n")

ASSET(index, "web/index.html");
ASSET(style, "web/style.css");
ASSET(dom, "web/dom.js");
ASSET(script, "web/app.js");
ASSET(verdict, "web/verdict.js");
ASSET(pairs, "web/pairs.js");
ASSET(icon, "web/icon.svg");
ASSET(watch, "web/watch.html");
ASSET(watch_script, "web/watch.js");
ASSET(openapi, "web/openapi.json");
ASSET(d3, "/usr/share/javascript/d3/d3.min.js");
ASSET(d3_licence, "/usr/share/doc/libjs-d3/copyright");

#define ENTRY(path, type, name) { path, type, gr_asset_##name, gr_asset_##name##_end }
const gr_asset gr_assets[] = {
    ENTRY("/", "text/html; charset=utf-8", index),
    ENTRY("/style.css", "text/css; charset=utf-8", style),
    ENTRY("/dom.js", "text/javascript; charset=utf-8", dom),
    ENTRY("/app.js", "text/javascript; charset=utf-8", script),
    ENTRY("/verdict.js", "text/javascript; charset=utf-8", verdict),
    ENTRY("/pairs.js", "text/javascript; charset=utf-8", pairs),
    ENTRY("/icon.svg", "image/svg+xml", icon),
    ENTRY("/openapi.json", "application/json", openapi),
    ENTRY("/d3.js", "text/javascript; charset=utf-8", d3),
    ENTRY("/d3.txt", "text/plain; charset=utf-8", d3_licence),
};
const size_t gr_n_assets = GR_COUNT(gr_assets);

const gr_asset gr_dashboard_assets[] = {
    ENTRY("/", "text/html; charset=utf-8", watch),
    ENTRY("/style.css", "text/css; charset=utf-8", style),
    ENTRY("/dom.js", "text/javascript; charset=utf-8", dom),
    ENTRY("/watch.js", "text/javascript; charset=utf-8", watch_script),
    ENTRY("/icon.svg", "image/svg+xml", icon),
    ENTRY("/d3.js", "text/javascript; charset=utf-8", d3),
};
const size_t gr_n_dashboard_assets = GR_COUNT(gr_dashboard_assets);

const char gr_page_policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                              "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
