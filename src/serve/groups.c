/* groups.c - which responses answer the same prompt, in time linear in their text: prompts are compared where their
 * hashes agree. The hash begins with a number that clients do not know, so that none can make many agree. */
#include <string.h>
#include "serve/groups.h"

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static bool same_prompt(const gram_prompt *a, const gram_prompt *b)
{
    if (a->n != b->n || !same_text(a->tools, b->tools))
        return false;
    for (size_t i = 0; i < a->n && a->turn != b->turn; i++)
        if (strcmp(a->turn[i].role, b->turn[i].role) || !same_text(a->turn[i].content, b->turn[i].content)
            || !same_text(a->turn[i].extra, b->turn[i].extra))
            return false;
    return true;
}

static uint64_t add(uint64_t h, const char *s)
{
    for (; s && *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return (h ^ 0xff) * 0x100000001b3u;     /* no byte of UTF-8: the end of a text */
}

static uint64_t hash(uint64_t h, const gram_prompt *p)
{
    for (size_t i = 0; i < p->n; i++)
        h = add(add(add(h, p->turn[i].role), p->turn[i].content), p->turn[i].extra);
    return h ^ h >> 32;
}

int gr_find_groups(gr_req *r, gr_rewards *w, uint64_t seed)
{
    size_t slots = 2, *slot, *last = gr_req_alloc(r, w->n, sizeof *last);
    const gram_prompt *before = NULL;
    uint64_t h = 0;

    while (slots < 2 * w->n)
        slots *= 2;
    slot = gr_req_alloc(r, slots, sizeof *slot);            /* index + 1; 0: free */
    w->group = gr_req_alloc(r, w->n, sizeof *w->group);
    w->next = gr_req_alloc(r, w->n, sizeof *w->next);
    if (!slot || !last || !w->group || !w->next)
        return r->status;
    for (size_t i = 0; i < w->n; i++) {
        const gr_item *it = &w->item[i];
        size_t k;
        w->group[i] = last[i] = i;
        w->next[i] = w->n;
        if (it->why || it->reference || !it->prompt.n)
            continue;
        if (!before || before->turn != it->prompt.turn)     /* most requests have one prompt, read once */
            h = hash(seed, &it->prompt);
        before = &it->prompt;
        for (k = h & (slots - 1); slot[k] && !same_prompt(&w->item[slot[k] - 1].prompt, &it->prompt); )
            k = (k + 1) & (slots - 1);
        if (!slot[k])
            slot[k] = i + 1;
        else {
            size_t first = slot[k] - 1;
            w->group[i] = first;
            w->next[last[first]] = i;
            last[first] = i;
        }
    }
    return 0;
}
