/* rows_int.h - what the files of this folder share: a conversation being read, and a row's forms. */
#ifndef GR_DATA_ROWS_INT_H
#define GR_DATA_ROWS_INT_H

#include <jansson.h>
#include "data/rows.h"

const char *gr_json_kind(const json_t *v);      /* "a number", "nothing" */
json_t *gr_json_get(const json_t *o, const char *key);          /* NULL where the key is absent or null */

/* Turns, owned. The role is one of four static words; extra as in gram_message. */
typedef struct { const char *role; char *text, *extra; } gr_turn;
typedef struct { gr_turn *turn; size_t n, cap; } gr_talk;
void gr_turn_clear(gr_turn *t);
void gr_talk_clear(gr_talk *t);
gram_status gr_talk_add(const gr_at *at, gr_talk *t, const char *role, const char *p, size_t n);
bool gr_text_same(const char *a, const char *b);         /* either may be NULL */
bool gr_talk_same(const gr_turn *a, const gr_turn *b, size_t n);
/* The first n turns as one block for a row; NULL: out of memory. */
gram_message *gr_talk_pack(const gr_talk *t, size_t n);

/* A message list ({role, content} or {from, value}); key is what errors call it. */
gram_status gr_talk_read(const gr_at *at, const char *key, const json_t *list, gr_talk *out);
/* "\n\nHuman: ...\n\nAssistant: ...", for which gr_talk_is_transcript() has been asked. */
bool gr_talk_is_transcript(const char *s);
gram_status gr_talk_transcript(const gr_at *at, const char *s, gr_talk *out);
/* A response: a string, the assistant's message, or an object that holds its text under a name in common use. */
gram_status gr_answer_read(const gr_at *at, const char *key, const json_t *v, gr_turn *out);
/* The same where nothing but a text will do. */
gram_status gr_text_read(const gr_at *at, const char *key, const json_t *v, char **out);
/* The row's "tools" as JSON text, malloc'ed; NULL where there are none. */
gram_status gr_tools_read(const gr_at *at, const json_t *row, char **out);
char *gr_json_compact(const json_t *v);         /* malloc'ed; NULL: out of memory */
/* The row's question under whatever name it goes; none leaves out empty. */
gram_status gr_prompt_read(const gr_at *at, const json_t *row, gr_talk *out);
/* It is there and ends with a turn of the user that says something. */
gram_status gr_prompt_check(const gr_at *at, const gr_talk *t);

/* forms.c: one JSON object to rows. */
gram_status gr_forms_read(const gr_at *at, const json_t *row, gr_row **out, size_t *n);

#endif
