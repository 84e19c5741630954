/* kv.c - see kv.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/kv.h"

struct gr_kv_node {
    gr_kv_node *parent, *child, *next;      /* next: a sibling */
    size_t pos, n;                          /* absolute position of the first token; how many there are */
    size_t width, layers;
    size_t pins;                            /* of this node and of those below it */
    uint64_t seen;                          /* when it was last matched */
    int32_t *token;
    float *kv;                              /* [layers][keys, values][n][width] */
};

struct gr_kv_tree {
    size_t layers, width, limit, bytes;
    uint64_t clock;
    gr_kv_node top;                         /* no tokens: the parent of the roots */
};

gram_status gr_kv_open(gr_kv_tree **out, size_t layers, size_t kv_width, size_t limit, gram_err *err)
{
    gr_kv_tree *t = gr_calloc(1, sizeof *t);

    *out = t;
    if (!t)
        return gr_nomem(err, "prefix cache");
    t->layers = layers;
    t->width = kv_width;
    t->limit = limit;
    return GRAM_OK;
}

static void node_free(gr_kv_node *node)
{
    if (!node)
        return;
    free(node->token);
    free(node->kv);
    free(node);
}

/* Frees everything below `at`, leaf by leaf: a chain may be long, so nothing recurses. */
static void free_below(gr_kv_node *at)
{
    gr_kv_node *n = at->child;

    while (n) {
        gr_kv_node *up = n->parent;
        if (n->child) {
            n = n->child;
            continue;
        }
        up->child = n->next;
        node_free(n);
        n = up->child ? up->child : up == at ? NULL : up;
    }
}

void gr_kv_forget(gr_kv_tree *t)
{
    if (!t)
        return;
    free_below(&t->top);
    t->bytes = 0;
}

void gr_kv_close(gr_kv_tree *t)
{
    gr_kv_forget(t);
    free(t);
}

size_t gr_kv_bytes(const gr_kv_tree *t)
{
    return t->bytes;
}

static size_t node_bytes(const gr_kv_node *n)
{
    return sizeof *n + n->n * (sizeof *n->token + 2 * n->layers * n->width * sizeof *n->kv);
}

static gr_kv_node *node_new(size_t layers, size_t width, const int32_t *token, size_t n)
{
    gr_kv_node *node = gr_calloc(1, sizeof *node);
    size_t floats;

    if (!node || !gr_mul(2 * layers * width, n, &floats))
        return node_free(node), NULL;
    node->layers = layers;
    node->width = width;
    node->n = n;
    node->token = gr_calloc(n, sizeof *token);
    node->kv = gr_alloc_aligned(floats, sizeof *node->kv);
    if (!node->token || !node->kv)
        return node_free(node), NULL;
    memcpy(node->token, token, n * sizeof *token);
    return node;
}

static gr_kv_node *child_with(const gr_kv_node *parent, int32_t token)
{
    gr_kv_node *c = parent->child;

    while (c && c->token[0] != token)
        c = c->next;
    return c;
}

size_t gr_kv_match(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n)
{
    size_t matched = 0;

    t->clock++;
    for (;;) {
        gr_kv_node *node = at->node;
        while (node && at->used < node->n && matched < n && node->token[at->used] == token[matched]) {
            at->used++;
            matched++;
        }
        for (gr_kv_node *up = node; up; up = up->parent)
            up->seen = t->clock;
        if (matched == n || (node && at->used < node->n))
            return matched;
        node = child_with(node ? node : &t->top, token[matched]);
        if (!node)
            return matched;
        *at = (gr_kv_at){ node, 0 };
    }
}

static void unlink_node(gr_kv_node *node)
{
    gr_kv_node **link = &node->parent->child;

    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
}

void gr_kv_remove(gr_kv_tree *t, gr_kv_node *node)
{
    unlink_node(node);
    t->bytes -= node_bytes(node);
    node_free(node);
}

/* The leaf that was matched longest ago, or NULL where all are pinned. */
static gr_kv_node *oldest_leaf(const gr_kv_node *top)
{
    gr_kv_node *oldest = NULL;

    for (gr_kv_node *n = top->child; n; ) {
        if (!n->child && !n->pins && (!oldest || n->seen < oldest->seen))
            oldest = n;
        if (n->child) {
            n = n->child;
            continue;
        }
        while (n != top && !n->next)
            n = n->parent;
        n = n == top ? NULL : n->next;
    }
    return oldest;
}

static bool make_room(gr_kv_tree *t, size_t bytes)
{
    while (t->bytes + bytes > t->limit) {
        gr_kv_node *leaf = oldest_leaf(&t->top);
        if (!leaf)
            return false;
        gr_kv_remove(t, leaf);
    }
    return true;
}

/* The rows [from, from + n) of a node's keys and values, as a node of their own. */
static gr_kv_node *node_part(const gr_kv_node *whole, size_t from, size_t n)
{
    gr_kv_node *part = node_new(whole->layers, whole->width, whole->token + from, n);

    if (!part)
        return NULL;
    for (size_t l = 0; l < 2 * whole->layers; l++)
        memcpy(part->kv + l * n * whole->width, whole->kv + (l * whole->n + from) * whole->width,
               n * whole->width * sizeof *part->kv);
    part->pos = whole->pos + from;
    part->seen = whole->seen;
    return part;
}

/* Cuts a node in two after `used` tokens; the upper part, or NULL. */
static gr_kv_node *split(gr_kv_tree *t, gr_kv_node *node, size_t used)
{
    gr_kv_node *upper = node->pins ? NULL : node_part(node, 0, used);
    gr_kv_node *lower = upper ? node_part(node, used, node->n - used) : NULL;

    if (!lower)
        return node_free(upper), NULL;
    unlink_node(node);
    upper->parent = node->parent;
    upper->next = node->parent->child;
    node->parent->child = upper;
    upper->child = lower;
    lower->parent = upper;
    lower->child = node->child;
    for (gr_kv_node *c = lower->child; c; c = c->next)
        c->parent = lower;
    t->bytes += node_bytes(upper) + node_bytes(lower) - node_bytes(node);
    node_free(node);
    return upper;
}

void gr_kv_insert(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n, gr_kv_node **out)
{
    gr_kv_node *parent = at->node ? at->node : &t->top, *node;
    bool room;

    *out = NULL;
    node = node_new(t->layers, t->width, token, n);
    if (!node)
        return;
    if (at->node && at->used < at->node->n) {
        parent = split(t, at->node, at->used);
        if (!parent) {
            node_free(node);
            return;
        }
        *at = (gr_kv_at){ parent, parent->n };
    }
    parent->pins++;                         /* not itself a leaf to evict */
    room = make_room(t, node_bytes(node));
    parent->pins--;
    if (!room) {
        node_free(node);
        return;
    }
    node->pos = parent->pos + parent->n;
    node->parent = parent;
    node->next = parent->child;
    node->seen = ++t->clock;
    parent->child = node;
    t->bytes += node_bytes(node);
    *out = node;
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

gr_kv_node *gr_kv_parent(const gr_kv_node *node)
{
    return node->parent && node->parent->n ? node->parent : NULL;   /* the top holds no tokens */
}

size_t gr_kv_count(const gr_kv_node *node)
{
    return node->n;
}

float *gr_kv_keys(const gr_kv_node *node, size_t layer)
{
    return node->kv + 2 * layer * node->n * node->width;
}

float *gr_kv_values(const gr_kv_node *node, size_t layer)
{
    return gr_kv_keys(node, layer) + node->n * node->width;
}
