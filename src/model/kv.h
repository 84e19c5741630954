/* kv.h - keys and values that outlive a forward pass: prefixes that come again, and a text being written.
 *
 * A tree of token runs. A node holds the keys and values of its tokens for every layer, given that the tokens of the
 * nodes above it came before. What a forward pass reads from here has the bits that it would compute itself,
 * since a row's bits depend on its prefix alone. */
#ifndef GR_MODEL_KV_H
#define GR_MODEL_KV_H

#include "base/mem.h"

typedef struct gr_kv_node gr_kv_node;
typedef struct gr_kv_tree gr_kv_tree;

/* A place in the tree: the first `used` tokens of a node, and all of the nodes above it. {NULL, 0}: before the
 * first token. */
typedef struct { gr_kv_node *node; size_t used; } gr_kv_at;

/* limit: bytes that the nodes may take together. */
gram_status gr_kv_open(gr_kv_tree **out, size_t layers, size_t kv_width, size_t limit, gram_err *err);
void gr_kv_close(gr_kv_tree *t);
void gr_kv_forget(gr_kv_tree *t);                       /* all of it; no forward pass is under way. t may be NULL */
size_t gr_kv_bytes(const gr_kv_tree *t);

/* Moves *at forward as far as token[0..n) is known; how many tokens that was. */
size_t gr_kv_match(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n);

/* A node for token[0..n) after *at, its keys and values still to be written; a node that *at lies in the middle of is
 * cut in two, and *at then names the same place anew. The least recently matched leaves
 * make room, but for pinned ones and those above them. *out is NULL where there is no room, no memory, or the
 * place is in the middle of a node that others hold: a cache may decline. */
void gr_kv_insert(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n, gr_kv_node **out);
/* A node whose contents could not be computed. */
void gr_kv_remove(gr_kv_tree *t, gr_kv_node *node);

/* Keeps a node and those above it from being evicted or split. */
void gr_kv_pin(gr_kv_node *node);
void gr_kv_unpin(gr_kv_node *node);

size_t gr_kv_pos(gr_kv_at at);                          /* absolute position of the next token */
gr_kv_node *gr_kv_parent(const gr_kv_node *node);
size_t gr_kv_count(const gr_kv_node *node);             /* tokens of this node */
float *gr_kv_keys(const gr_kv_node *node, size_t layer);    /* [count, kv_width] */
float *gr_kv_values(const gr_kv_node *node, size_t layer);

#endif
