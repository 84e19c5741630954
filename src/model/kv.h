/* kv.h - keys and values that outlive a forward pass: prefixes that are seen again, and texts being written.
 *
 * A tree of token runs. A node holds the keys and values of its tokens for every layer, given that the tokens before it
 * on the path came before; a child may begin after any token of its parent, so a text that leaves another in its
 * middle copies nothing and moves nobody. What a forward pass reads from here has the bits that it would compute
 * itself, since a row's bits depend on its prefix alone.
 *
 *     [ judge, question, a, b ]           pages 0 1
 *               +--[ c, d, cue ]          page 2
 *
 * A node's rows begin at the beginning of a page. A text that grows fills its last page; what branches off begins
 * one. */
#ifndef GR_MODEL_KV_H
#define GR_MODEL_KV_H

#include "model/pages.h"

typedef struct gr_kv_node gr_kv_node;
typedef struct gr_kv_tree gr_kv_tree;

/* A place in the tree: the first `used` tokens of a node, and what is before it on its path. {NULL, 0}: before the
 * first token; {NULL, 1}: of texts that are computed otherwise from there on, and share nothing with the others. */
typedef struct { gr_kv_node *node; size_t used; } gr_kv_at;
/* Tokens [first, first + n) of a node, whose keys and values a pass is to write. node NULL: none. */
typedef struct { gr_kv_node *node; size_t first, n; } gr_kv_room;

/* limit: bytes that the nodes may take together. */
gram_status gr_kv_open(gr_kv_tree **out, gr_device *d, size_t layers, size_t kv_width, gr_dtype type, size_t limit,
                       gram_err *err);
void gr_kv_close(gr_kv_tree *t);
void gr_kv_forget(gr_kv_tree *t);                    /* all of it; no forward pass is under way. t may be NULL */
size_t gr_kv_bytes(const gr_kv_tree *t);
const gr_pages *gr_kv_pages(const gr_kv_tree *t);

/* Moves *at forward as far as token[0..n) is known; how many tokens that was. */
size_t gr_kv_match(gr_kv_tree *t, gr_kv_at *at, const int32_t *token, size_t n);

/* Room for token[0..n) after *at. grow: at the end of a node that node gets them, as a text's does; otherwise they are
 * a node of their own. What was matched longest ago makes room, but for what is pinned and what is before it.
 * room->node is NULL where there is none, or no memory: a cache may decline. */
void gr_kv_insert(gr_kv_tree *t, gr_kv_at at, const int32_t *token, size_t n, bool grow, gr_kv_room *room);
/* Gives back room whose contents could not be computed; the latest first. */
void gr_kv_take_back(gr_kv_tree *t, gr_kv_room room);

/* The tokens of at.node from at.used on are no more: a text took them back. Nothing comes after them. */
void gr_kv_shorten(gr_kv_tree *t, gr_kv_at at);

/* Keeps a node and those before it from being evicted. */
void gr_kv_pin(gr_kv_node *node);
void gr_kv_unpin(gr_kv_node *node);

bool gr_kv_is_far(gr_kv_at at);                 /* at.node is after {NULL, 1} */
size_t gr_kv_pos(gr_kv_at at);                  /* absolute position of the next token */
gr_kv_at gr_kv_before(const gr_kv_node *node);      /* the place where the node begins */
const uint32_t *gr_kv_node_pages(const gr_kv_node *node);   /* token i has row i % GR_PAGE of page i / GR_PAGE */

#endif
