/* kv.c - see kv.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/kv.h"

struct gr_kv_node {
    gr_kv_node *parent, *child, *next;      /* next: a sibling */
    size_t from;                                /* tokens of the parent that come before */
    size_t pos, n;                              /* absolute position of the first token; how many there are */
    size_t pins;                                /* of this node and of those after it */
    uint64_t seen, end_seen;                    /* when it was last matched; when a match last ended in it */
    int32_t *token;
    uint32_t *page;                             /* [pages_of(n)] */
    size_t cap_tokens, cap_pages;
};

struct gr_kv_tree {
    gr_pages *pages;
    size_t limit, bytes;
    uint64_t clock;
    gr_kv_node top;                         /* no tokens: the parent of the roots */
};

gram_status gr_kv_open(gr_kv_tree **out, gr_device *d, size_t layers, size_t kv_width, gr_dtype type, size_t limit,
                       gram_err *err)
{
    gr_kv_tree *t = gr_calloc(1, sizeof *t);
    gram_status rc = t ? gr_pages_open(&t->pages, d, layers, kv_width, type, limit, err)
                       : gr_nomem(err, "prefix cache");

    *out = NULL;
    if (rc) {
        free(t);
        return rc;
    }
    t->limit = limit;
    *out = t;
    return GRAM_OK;
}

static size_t pages_of(size_t n)
{
    return (n + GR_PAGE - 1) / GR_PAGE;
}

static size_t node_bytes(const gr_kv_tree *t, size_t n)
{
    return sizeof(gr_kv_node) + n * sizeof(int32_t) + pages_of(n) * gr_page_bytes(t->pages);
}

/* The node's tokens from n on are no more. */
static void cut(gr_kv_tree *t, gr_kv_node *node, size_t n)
{
    t->bytes -= node_bytes(t, node->n) - node_bytes(t, n);
    for (size_t i = pages_of(n); i < pages_of(node->n); i++)
        gr_page_drop(t->pages, node->page[i]);
    node->n = n;
}

static void node_free(gr_kv_tree *t, gr_kv_node *node)
{
    cut(t, node, 0);
    t->bytes -= node_bytes(t, 0);
    free(node->token);
    free(node->page);
    free(node);
}

/* Frees everything after `at`, leaf by leaf: a chain may be long, so nothing recurses. */
static void free_below(gr_kv_tree *t, gr_kv_node *at)
{
    gr_kv_node *n = at->child;

    while (n) {
        gr_kv_node *up = n->parent;
        if (n->child) {
            n = n->child;
            continue;
        }
        up->child = n->next;
        node_free(t, n);
        n = up->child ? up->child : up == at ? NULL : up;
    }
}

void gr_kv_forget(gr_kv_tree *t)
{
    if (t)
        free_below(t, &t->top);
}

void gr_kv_close(gr_kv_tree *t)
{
    if (!t)
        return;
    gr_kv_forget(t);
    gr_pages_close(t->pages);
    free(t);
}

size_t gr_kv_bytes(const gr_kv_tree *t)
{
    return t->bytes;
}

const gr_pages *gr_kv_pages(const gr_kv_tree *t)
{
    return t->pages;
}

/* In the top, `from` says which of the two kinds of text begins there. */
static gr_kv_node *child_with(const gr_kv_node *parent, size_t from, int32_t token)
{
    gr_kv_node *c = parent->child;

    while (c && (c->from != from || c->token[0] != token))
        c = c->next;
    return c;
}

size_t gr_kv_match(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n)
{
    size_t matched = 0;

    t->clock++;
    for (;;) {
        gr_kv_node *node = at->node, *next;
        while (node && at->used < node->n && matched < n && node->token[at->used] == token[matched]) {
            at->used++;
            matched++;
        }
        next = matched == n ? NULL : child_with(node ? node : &t->top, at->used, token[matched]);
        if (!next)
            break;
        *at = (gr_kv_at){ next, 0 };
    }
    for (gr_kv_node *up = at->node; up; up = up->parent)
        up->seen = t->clock;
    if (at->node)
        at->node->end_seen = t->clock;
    return matched;
}

static void remove_leaf(gr_kv_tree *t, gr_kv_node *node)
{
    gr_kv_node **link = &node->parent->child;

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node_free(t, node);
}

/* Tokens of a node that others come after. */
static size_t needed(const gr_kv_node *node)
{
    size_t n = 0;

    for (const gr_kv_node *c = node->child; c; c = c->next)
        n = gr_max(n, c->from);
    return n;
}

/* What was matched longest ago: a leaf, or a node whose end nothing comes after. NULL where all are pinned. */
static gr_kv_node *oldest(const gr_kv_node *top)
{
    gr_kv_node *found = NULL;
    uint64_t age = 0;

    for (gr_kv_node *n = top->child; n; ) {
        uint64_t seen = n->child ? n->end_seen : n->seen;
        if (!n->pins && (!found || seen < age) && (!n->child || pages_of(needed(n)) < pages_of(n->n))) {
            found = n;
            age = seen;
        }
        if (n->child) {
            n = n->child;
            continue;
        }
        while (n != top && !n->next)
            n = n->parent;
        n = n == top ? NULL : n->next;
    }
    return found;
}

static bool make_room(gr_kv_tree *t, size_t bytes)
{
    while (bytes > t->limit || t->bytes > t->limit - bytes) {
        gr_kv_node *node = bytes > t->limit ? NULL : oldest(&t->top);
        if (!node)
            return false;
        if (node->child)
            cut(t, node, needed(node));
        else
            remove_leaf(t, node);
    }
    return true;
}

/* n tokens more for a node; false, and it is as it was, where there is no room. */
static bool extend(gr_kv_tree *t, gr_kv_node *node, const int32_t *token, size_t n)
{
    size_t all = node->n + n, was = node->n;
    int32_t *tokens = gr_grown(node->token, node->n, &node->cap_tokens, n, sizeof *tokens);
    uint32_t *page;

    if (!tokens)
        return false;
    node->token = tokens;
    page = gr_grown(node->page, pages_of(was), &node->cap_pages, pages_of(all) - pages_of(was) + 1, sizeof *page);
    if (!page)
        return false;
    node->page = page;
    if (!make_room(t, node_bytes(t, all) - node_bytes(t, was)))
        return false;
    for (size_t i = pages_of(was); i < pages_of(all); i++)
        if (!gr_page_take(t->pages, &page[i])) {
            while (i-- > pages_of(was))
                gr_page_drop(t->pages, page[i]);
            return false;
        }
    memcpy(node->token + was, token, n * sizeof *token);
    node->n = all;
    t->bytes += node_bytes(t, all) - node_bytes(t, was);
    return true;
}

void gr_kv_insert(gr_kv_tree *t, gr_kv_at at, const int32_t *token, size_t n, bool grow, gr_kv_room *room)
{
    gr_kv_node *parent = at.node ? at.node : &t->top, *node = at.node;
    bool within = grow && node && at.used == node->n, made;

    *room = (gr_kv_room){ 0 };
    if (!within)
        node = gr_calloc(1, sizeof *node);
    if (!node)
        return;
    parent->pins++;                             /* stays while room is made */
    if (!within)
        t->bytes += node_bytes(t, 0);
    made = extend(t, node, token, n);
    parent->pins--;
    if (!made) {
        if (!within)
            node_free(t, node);
        return;
    }
    if (!within) {
        node->pos = at.node ? parent->pos + at.used : 0;
        node->from = at.used;
        node->parent = parent;
        node->next = parent->child;
        parent->child = node;
    }
    node->seen = node->end_seen = ++t->clock;
    *room = (gr_kv_room){ node, node->n - n, n };
}

void gr_kv_take_back(gr_kv_tree *t, gr_kv_room room)
{
    if (room.first > 0)
        cut(t, room.node, room.first);
    else
        remove_leaf(t, room.node);
}

void gr_kv_shorten(gr_kv_tree *t, gr_kv_at at)
{
    assert(at.used > 0 && at.used <= at.node->n && needed(at.node) <= at.used);
    cut(t, at.node, at.used);
}

void gr_kv_pin(gr_kv_node *node)
{
    for (; node; node = node->parent)
        node->pins++;
}

void gr_kv_unpin(gr_kv_node *node)
{
    for (; node; node = node->parent)
        node->pins--;
}

size_t gr_kv_pos(gr_kv_at at)
{
    return at.node ? at.node->pos + at.used : 0;
}

bool gr_kv_is_far(gr_kv_at at)
{
    const gr_kv_node *n = at.node;

    while (n->parent->parent)
        n = n->parent;
    return n->from > 0;
}

gr_kv_at gr_kv_before(const gr_kv_node *node)
{
    bool root = !node->parent->parent;          /* the top holds no tokens */

    return (gr_kv_at){ root ? NULL : node->parent, node->from };
}

const uint32_t *gr_kv_node_pages(const gr_kv_node *node)
{
    return node->page;
}
