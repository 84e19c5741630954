/* rows_int.h - what the files of this folder share: a conversation being read, and a row's forms. */
#ifndef GR_DATA_ROWS_INT_H
#define GR_DATA_ROWS_INT_H

#include <jansson.h>
#include "data/rows.h"

/* ---- lenient.c ---- */

/* A line of JSON. What jansson would refuse it for in a value that nobody may read is put aside: at->odd says what. */
enum { GR_ODD_NUMBER = 1, GR_ODD_HALF = 2, GR_ODD_NUL = 4 };
gram_status gr_json_lenient(gr_at *at, const char *json, size_t bytes, json_t **out);
const char *gr_json_odd(const json_t *v);       /* a number that was put aside, as it stood: "NaN"; NULL: it is none */
const char *gr_text_odd(const gr_at *at, const char *text);     /* what was put aside in a text; NULL: nothing */
const char *gr_json_kind(const json_t *v);      /* "a number", "nothing", "NaN" */
json_t *gr_json_get(const json_t *o, const char *key);          /* NULL where the key is absent or null */
/* CSV has texts alone: a number, and true or false, may stand in one ("2", "1e-05", "True"). */
bool gr_json_number(const json_t *v, double *out);
bool gr_json_flag(const json_t *v, bool *out);
/* Puts a list in the place of its text, as CSV has it, under each key that is never a text. rows.c */
gram_status gr_lists_settle(const gr_at *at, json_t *row);
bool gr_json_holds(const json_t *v);            /* something: no null, "", [] or {}, by which tables say nothing */
char *gr_json_compact(const json_t *v);         /* malloc'ed; NULL: out of memory */

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

/* A message list ({role, content} or {from, value}), or one message; key is what errors call it. */
gram_status gr_talk_read(const gr_at *at, const char *key, const json_t *list, gr_talk *out);
const char *gr_role_named(const char *s);       /* the static word for it; NULL: not known */
/* A response: a string, the assistant's message, or an object that holds its text under a name in common use. */
gram_status gr_answer_read(const gr_at *at, const char *key, const json_t *v, gr_turn *out);
/* The same where nothing but a text will do. */
gram_status gr_text_read(const gr_at *at, const char *key, const json_t *v, char **out);
/* The row's "tools" as JSON text, malloc'ed; NULL where there are none. */
gram_status gr_tools_read(const gr_at *at, const json_t *row, char **out);

/* The row's "criteria", malloc'ed; NULL where there are none. rows.c */
gram_status gr_criteria_read(const gr_at *at, const json_t *row, char **out);

/* ---- literal.c: values in a string ---- */

/* *out: what the string holds as JSON, or as Python prints it; NULL: neither. */
gram_status gr_literal_read(const gr_at *at, const char *s, json_t **out);
/* *out: the list of messages, or the message, that the string holds; NULL where it holds none. GRAM_EFORMAT where it
 * holds one that cannot be read. */
gram_status gr_literal_messages(const gr_at *at, const char *key, const char *s, json_t **out);

/* ---- transcript.c: a conversation in one text ---- */

/* With turns marked Human: and Assistant:, or <extra_id_1>. first: it must begin with a mark, for what stands later in
 * an answer is text. */
bool gr_text_is_transcript(const char *s, bool first);
gram_status gr_transcript_read(const gr_at *at, const char *key, const char *s, gr_talk *out);
gram_status gr_text_check(const gr_at *at, const char *key, const char *s);    /* refuses one with other marks */

/* ---- prompt.c ---- */

/* The row's question under whatever name it goes; none leaves out empty. */
gram_status gr_prompt_read(const gr_at *at, const json_t *row, gr_talk *out);
/* When the conversation is all there: puts the row's system text before it, and refuses a conversation that is empty
 * or ends with no turn of the user or of a tool, and columns that would have to be part of it. */
gram_status gr_prompt_finish(const gr_at *at, const json_t *row, gr_talk *t);
const char *gr_prompt_empty(const json_t *row);     /* a key whose list of messages has none; NULL: none is */

/* ---- verdict.c ---- */

/* side: below 0 the first is better, above 0 the second, 0 a tie; graded: its size says how much. */
typedef struct { double side; bool graded; } gr_verdict;
gram_status gr_verdict_read(const gr_at *at, const json_t *row, const char *const two[2], gr_verdict *out);
/* gr_bad() for a value that says that other rows of the file mean something else than was read: GRAM_EIO. */
gram_status gr_bad_code(const gr_at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- columns.c: the names of a file's columns, as --columns gives them ---- */

typedef struct gr_columns gr_columns;
gram_status gr_columns_read(gr_columns **out, const char *spec, gram_err *err);     /* spec NULL: *out is NULL */
void gr_columns_close(gr_columns *c);
/* Puts the values under the names that forms.c reads, in place of what else would be read for them. */
gram_status gr_columns_apply(const gr_columns *c, const gr_at *at, json_t *row);

/* ---- reasons.c ---- */

/* The row's reasons, NULL where it has none. */
gram_status gr_reasons_read(const gr_at *at, const json_t *row, gr_reasons **out);
void gr_reasons_free(gr_reasons *r);

/* ---- forms.c ---- */

/* One JSON object to rows. */
gram_status gr_forms_read(const gr_at *at, const json_t *row, gr_row **out, size_t *n);
/* Whether both answers are conversations, or lists of another kind: the prompt is then in them, too. */
bool gr_forms_talk(const json_t *row);
gram_status gr_group_read(const gr_at *at, const json_t *row, gr_group *out);      /* rows.c */
gram_status gr_lone_prompt_read(const gr_at *at, const json_t *row, gr_group *out); /* the same; gr_reader_prompt()'s */
gram_status gr_asked_read(const gr_at *at, const json_t *row, gr_group *out);      /* the same; gr_reader_asked()'s */
gram_status gr_labelled_read(const gr_at *at, const json_t *row, gr_labelled *out); /* the same */
typedef gram_status gr_group_fn(const gr_at *at, const json_t *row, gr_group *out);
/* Whether the row holds a coded value, and whether it is one of those that condemn the file: GRAM_EIO, else GRAM_OK. */
bool gr_forms_coded(const json_t *row);
gram_status gr_forms_check_code(const gr_at *at, const json_t *row);

#endif
