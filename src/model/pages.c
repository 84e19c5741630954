/* pages.c - see pages.h. Pages that are given back stay, for the next who takes one. */
#include <stdlib.h>
#include "base/err.h"
#include "model/pages.h"

struct gr_pages {
    gr_device *d;
    gr_dtype type;
    size_t width, bytes, limit;     /* kv_width; of a page; pages at most */
    void **page;                    /* [n], of which [cap] have room */
    size_t n, cap, cap_free;
    uint32_t *free;                 /* [n_free] those that nobody holds */
    size_t n_free;
};

gram_status gr_pages_open(gr_pages **out, gr_device *d, size_t layers, size_t kv_width, gr_dtype type, size_t bytes,
                          gram_err *err)
{
    gr_pages *p = gr_calloc(1, sizeof *p);

    *out = NULL;
    if (!p || !gr_mul(2 * GR_PAGE * gr_dtype_bytes(type) * layers, kv_width, &p->bytes)) {
        free(p);
        return gr_nomem(err, "keys and values");
    }
    p->d = d;
    p->type = type;
    p->width = kv_width;
    p->limit = gr_min(bytes / p->bytes, UINT32_MAX);
    *out = p;
    return GRAM_OK;
}

void gr_pages_close(gr_pages *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        gr_device_free(p->d, p->page[i]);
    free(p->page);
    free(p->free);
    free(p);
}

gr_dtype gr_pages_type(const gr_pages *p)
{
    return p->type;
}

size_t gr_page_bytes(const gr_pages *p)
{
    return p->bytes;
}

size_t gr_pages_used(const gr_pages *p)
{
    return p->n - p->n_free;
}

/* One page more, with room to note that it is free. */
static bool add_page(gr_pages *p)
{
    void **page = gr_grown(p->page, p->n, &p->cap, 1, sizeof *page);
    uint32_t *list;

    if (!page)
        return false;
    p->page = page;
    list = gr_grown(p->free, p->n, &p->cap_free, 1, sizeof *list);
    if (!list)
        return false;
    p->free = list;
    if (gr_device_alloc(p->d, &p->page[p->n], p->bytes, NULL))
        return false;
    p->free[p->n_free++] = (uint32_t)p->n++;
    return true;
}

bool gr_page_take(gr_pages *p, uint32_t *page)
{
    if (gr_pages_used(p) >= p->limit || (p->n_free == 0 && !add_page(p)))
        return false;
    *page = p->free[--p->n_free];
    return true;
}

void gr_page_drop(gr_pages *p, uint32_t page)
{
    p->free[p->n_free++] = page;
}

gr_attn_store gr_pages_store(const gr_pages *p, size_t layer)
{
    size_t half = GR_PAGE * p->width;

    return (gr_attn_store){ p->page, 2 * layer * half, (2 * layer + 1) * half, p->width };
}

gr_mat gr_page_keys(const gr_pages *p, size_t layer, uint32_t page, size_t first)
{
    return gr_mat_at(gr_mat_of(p->page[page], p->width, p->type), 2 * layer * GR_PAGE + first, 0);
}

gr_mat gr_page_values(const gr_pages *p, size_t layer, uint32_t page, size_t first)
{
    return gr_page_keys(p, layer, page, GR_PAGE + first);
}
