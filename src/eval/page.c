/* page.c - see page.h. */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "eval/page.h"
#include "eval/text.h"

#define DASH "\xe2\x80\x93"

void gr_page_raw(gr_page *p, const char *html)
{
    p->ok = p->ok && gr_buf_puts(p->b, html);
}

void gr_page_put(gr_page *p, const char *fmt, ...)
{
    char text[2048];
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < sizeof text);
    p->ok = p->ok && gr_buf_add(p->b, text, (size_t)n);
}

void gr_page_text(gr_page *p, const char *s)
{
    p->ok = p->ok && gr_text_html(p->b, s);
}

void gr_page_cut(gr_page *p, const char *s, size_t columns)
{
    gr_buf cut = { 0 };

    p->ok = p->ok && gr_text_cell(&cut, s, gr_min(columns, gr_text_width(s))) && gr_text_html(p->b, cut.p ? cut.p : "");
    gr_buf_clear(&cut);
}

void gr_page_count(gr_page *p, uint64_t n)
{
    char digits[24], text[32];
    int all = snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;

    for (int i = 0; i < all; i++) {
        if (i && (all - i) % 3 == 0)
            text[at++] = ',';
        text[at++] = digits[i];
    }
    text[at] = '\0';
    gr_page_raw(p, text);
}

void gr_page_percent(gr_page *p, double x)
{
    if (isnan(x))
        gr_page_raw(p, DASH);
    else
        gr_page_put(p, "%.1f&#160;%%", 100 * x);
}

void gr_page_range(gr_page *p, gram_interval v)
{
    if (isnan(v.value))
        gr_page_raw(p, DASH);
    else
        gr_page_put(p, "%.1f" DASH "%.1f", 100 * v.low, 100 * v.high);
}

void gr_page_share(gr_page *p, double x, int decimals)
{
    if (isnan(x))
        gr_page_raw(p, DASH);
    else
        gr_page_put(p, "%.*f", decimals, x);
}

void gr_page_cell_count(gr_page *p, uint64_t n)
{
    gr_page_raw(p, "<td>");
    gr_page_count(p, n);
    gr_page_raw(p, "</td>");
}

void gr_page_cell_percent(gr_page *p, double x)
{
    gr_page_raw(p, "<td>");
    gr_page_percent(p, x);
    gr_page_raw(p, "</td>");
}

void gr_page_cell_range(gr_page *p, gram_interval v)
{
    gr_page_raw(p, "<td>");
    gr_page_range(p, v);
    gr_page_raw(p, "</td>");
}

void gr_page_card(gr_page *p, const char *name, gram_interval v, const char *what)
{
    gr_page_raw(p, "<li><span>");
    gr_page_raw(p, name);
    gr_page_raw(p, "</span><b>");
    gr_page_percent(p, v.value);
    gr_page_raw(p, "</b><span>");
    gr_page_range(p, v);
    gr_page_put(p, ", %s</span></li>\n", what);
}

void gr_page_fact(gr_page *p, const char *name, const char *value)
{
    if (!value)
        return;
    gr_page_put(p, "<dt>%s</dt><dd>", name);
    gr_page_text(p, value);
    gr_page_raw(p, "</dd>\n");
}

/* ---- The whole page ---- */

static const char style[] =
    ":root{--bg:#f7f7f5;--fg:#1b1f24;--mut:#59636e;--card:#fff;--line:#d9dde2;--acc:#2563c9;--soft:#2563c922;"
    "--wrong:#c2410c;--zone:#c2410c14;--base:#0f766e}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#13161a;--fg:#e8eaed;--mut:#9da7b3;--card:#1b2026;--line:#333b44;"
    "--acc:#7aa7ff;--soft:#7aa7ff2e;--wrong:#ff9357;--zone:#ff93571c;--base:#4fd1c0}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);color-scheme:light dark;"
    "font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:24px 16px 48px}h1{font-size:1.6rem;line-height:1.25;margin:0 0 4px;"
    "overflow-wrap:anywhere}h2{font-size:1.2rem;margin:36px 0 12px}p{margin:8px 0}.note,.sub{color:var(--mut);"
    "font-size:.875rem}.lead{font-size:1.06rem;max-width:70ch}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(155px,1fr));gap:12px;margin:20px 0;padding:0;"
    "list-style:none}.cards li{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:12px 14px}.cards b{display:block;font-size:1.55rem;line-height:1.3;font-variant-numeric:tabular-nums}"
    ".cards span{display:block;color:var(--mut);font-size:.84rem}\n"
    ".plots{columns:2 400px;column-gap:16px}figure{break-inside:avoid;margin:0 0 16px;background:var(--card);"
    "border:1px solid var(--line);border-radius:10px;"
    "padding:14px 16px;min-width:0}figcaption{font-weight:600;margin-bottom:8px}svg{display:block;width:100%;"
    "height:auto}\n"
    "svg text{fill:var(--mut);font-size:12px}svg .small{font-size:11px}svg .name{fill:var(--fg);font-size:13px}"
    "svg .strong{fill:var(--fg);font-size:13px;font-weight:600}svg .s{text-anchor:start}svg .m{text-anchor:middle}"
    "svg .e{text-anchor:end}.grid{stroke:var(--line);stroke-width:1}.chance{stroke:var(--mut);stroke-width:1;"
    "stroke-dasharray:4 4}.whisk{stroke:var(--fg);stroke-width:1.5}.base{stroke:var(--base);stroke-width:3}"
    ".thin{fill:none;stroke-width:2}"
    ".track{fill:var(--line);opacity:.5}.bar{fill:var(--acc)}.soft{fill:var(--soft)}.muted{fill:var(--mut);opacity:.6}"
    ".wrong{fill:var(--wrong)}.curve,.faint,.held{fill:none;stroke:var(--acc);stroke-width:2;stroke-linejoin:round}"
    ".faint{stroke-width:1;opacity:.4}.held{stroke:var(--wrong)}.hdot{fill:var(--wrong)}"
    ".dot{fill:var(--acc)}.point{fill:var(--acc);opacity:.5}.flip{fill:var(--wrong);"
    "opacity:.65}.flipzone{fill:var(--zone)}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.875rem;"
    "font-variant-numeric:tabular-nums}th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:right;"
    "white-space:nowrap}th:first-child,td:first-child{text-align:left;padding-left:0}tbody th{font-weight:400;"
    "white-space:normal;overflow-wrap:anywhere;min-width:11em}thead th{color:var(--mut);font-weight:600;"
    "white-space:normal;vertical-align:bottom}figure tbody th{min-width:0;"
    "overflow-wrap:normal}tr.sum th,tr.sum td{font-weight:600}.in1{padding-left:18px!important}"
    ".in2{padding-left:36px!important}th.t,td.t{text-align:left;white-space:normal;overflow-wrap:anywhere;"
    "min-width:9em}\n"
    "details{margin:8px 0}summary{cursor:pointer;color:var(--acc)}.box{background:var(--card);"
    "border:1px solid var(--line);border-radius:10px;padding:10px 16px}dl{display:grid;"
    "grid-template-columns:minmax(9em,max-content) 1fr;gap:4px 16px;margin:0;font-size:.9rem}dt{color:var(--mut)}"
    "dd{margin:0;overflow-wrap:anywhere}@media (max-width:520px){dl{grid-template-columns:1fr}dd{margin-bottom:6px}"
    "th,td{padding:5px 4px}tbody th{min-width:8em}figure tbody th{min-width:0}.in1{padding-left:10px!important}"
    ".in2{padding-left:20px!important}}\n"
    "@media print{body{background:#fff}figure,.cards li,.box{break-inside:avoid}}\n";

void gr_page_begin(gr_page *p, const char *what, const char *name)
{
    gr_page_raw(p, "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n"
                "<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                "<meta name=\"generator\" content=\"gram " GRAM_VERSION "\"/>\n<title>");
    gr_page_raw(p, what);
    gr_page_text(p, name);
    gr_page_raw(p, "</title>\n<style>\n");
    gr_page_raw(p, style);
    gr_page_raw(p, "</style>\n</head>\n<body>\n<main>\n<h1>");
    gr_page_text(p, name);
    gr_page_raw(p, "</h1>\n");
}

void gr_page_end(gr_page *p)
{
    gr_page_raw(p, "</main>\n</body>\n</html>\n");
}
