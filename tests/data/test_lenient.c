/* test_lenient.c - JSON as people's programs write it, conversations in strings, columns by other names,
    and files whose
 * codes disagree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "data/rows.h"

static gr_row *row;
static size_t n;

static gram_status parse(const char *json)
{
    return gr_rows_parse("f", 1, json, strlen(json), &row, &n, &check_err);
}

static void done(void)
{
    for (size_t i = 0; i < n; i++)
        gr_row_clear(&row[i]);
    free(row);
    row = NULL;
    n = 0;
}

/* One row, as "u:q|a:a>chosen<rejected". */
static void reads(const char *json, const char *want)
{
    char got[1000] = "";
    size_t at = 0;

    if (parse(json))
        fail_msg("%s: %s", json, check_err.text);
    assert_int_equal(n, 1);
    for (size_t i = 0; i < row->n_turns; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%c:%s", i ? "|" : "", row->turn[i].role[0],
                               row->turn[i].content);
    snprintf(got + at, sizeof got - at, ">%s<%s", row->chosen, row->rejected);
    assert_string_equal(got, want);
    done();
}

static void refuses(const char *json, const char *says)
{
    gram_status rc = parse(json);

    if (rc != GRAM_EFORMAT || !strstr(check_err.text, says))
        fail_msg("%s: status %d, %s", json, rc, rc ? check_err.text : "read");
}

#define ROW(rest) "{" rest ",\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}"

static void what_nobody_reads_does_no_harm(void **state)
{
    static const char *const rest[] = {
        "\"elo\":NaN", "\"elo\":-Infinity,\"b\":[Infinity,{\"c\":NaN}]", "\"hash\":18446744073709551615",
        "\"hash\":-99999999999999999999", "\"x\":1e999", "\"x\":0.1234567890123456789012345678901234567890e-3",
        "\"t\":\"a\\ud83d\"", "\"t\":\"\\ude00\\ud83d\"", "\"\\ud83d\":1", "\"t\":\"a\\u0000b\"", "\"a\\u0000\":1",
        "\"t\":\"NaN \\\" 18446744073709551615\",\"u\":NaN",
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(rest); i++) {
        gr_buf b = { 0 };
        assert_true(gr_buf_printf(&b, ROW("%s"), rest[i]));
        reads(b.p, "u:q>x<y");
        gr_buf_clear(&b);
    }
    /* a whole pair stays what it is, beside half of one */
    reads("{\"prompt\":\"\\ud83d\\ude00\",\"chosen\":\"x\",\"rejected\":\"y\",\"t\":\"\\ud83d\"}", "u:"
        "\xf0\x9f\x98\x80>x<y");
    /* an id beyond 64 bits is copied as it stands */
    CHECK_OK(parse(ROW("\"id\":18446744073709551615")));
    assert_string_equal(row->id, "18446744073709551615");
    done();
}

static void what_is_read_makes_a_bad_row(void **state)
{
    (void)state;
    refuses("{\"prompt\":\"q\",\"chosen\":\"ok \\ud83d\",\"rejected\":\"y\"}", "the chosen answer holds a lone surroga"
        "te");
    refuses("{\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"a\\u0000\"}", "the rejected answer holds a NUL characte"
        "r");
    refuses("{\"prompt\":[{\"role\":\"system\",\"content\":\"\\udc00\"},{\"role\":\"user\",\"content\":\"q\"}],"
            "\"chosen\":\"x\",\"rejected\":\"y\"}", "turn 1 of the prompt holds a lone surrogate");
    refuses("{\"prompt\":\"q\",\"chosen\":NaN,\"rejected\":\"y\"}", "found NaN");
    refuses(ROW("\"margin\":NaN"), "key \"margin\" must be a number, found NaN");
    refuses(ROW("\"weight\":123456789012345678901234567890"), "found 123456789012345678901234567890");
    refuses(ROW("\"tools\":[{\"a\":NaN}]"), "key \"tools\" holds NaN");
    refuses("{\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":{\"role\":\"assistant\",\"content\":\"x\","
        "\"tool_calls\":"
            "[{\"x\":\"\\ud83d\"}]},\"rejected\":\"y\"}", "\"tool_calls\" of a message holds a lone surrogate");
    /* where it was in the line as it came */
    refuses("{\"a\":NaN,\"b\":1e999,\"prompt\":nope}", "byte 32: not JSON");
    refuses("{'prompt': 'q'}", "a dict as Python prints it");
    refuses("prompt,chosen,rejected", "wanted JSON Lines");
}

/* A line of many things to put aside takes a moment, not minutes. */
static void mending_is_linear(void **state)
{
    gr_buf b = { 0 };

    (void)state;
    assert_true(gr_buf_puts(&b, "{\"a\":[0"));
    for (size_t i = 0; i < 200000; i++)
        assert_true(gr_buf_puts(&b, ",NaN,\"\\ud83d\""));
    assert_true(gr_buf_puts(&b, "],\"prompt\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}"));
    reads(b.p, "u:q>x<y");
    gr_buf_clear(&b);
}

static void messages_in_strings(void **state)
{
    (void)state;
    reads("{\"prompt\":\"[{'role': 'system', 'content': \\\"it's\\\"}, {'content': 'q\\\\n\\\\'', 'role': 'user'}]\","
        "\"chosen\":"
          "\"x\",\"rejected\":\"y\"}", "s:it's|u:q\n'>x<y");
    /* NumPy's: no comma, and its wrapper; another first key; None and True */
    reads("{\"chosen\":\"[{'content': 'q', 'role': 'user'}\\n {'content': 'x', 'role': 'assistant', 'n': None}]\",\"re"
        "jected\":"
          "\"array([{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': 'y\\\\u00e9'}], dtype=object)\"}", "u:q>"
          "x<y\xc3\xa9");
    /* each turn a string; one message */
    reads("{\"prompt\":[\"{'role': 'user', 'content': 'q'}\"],\"chosen\":\"{\\\"role\\\":\\\"assistant\\\",\\\"content"
        "\\\":\\\"x\\\"}\","
          "\"rejected\":\"{'role': 'assistant', 'content': 'y'}\"}", "u:q>x<y");
    /* JSON that is an answer stays one */
    reads("{\"prompt\":\"q\",\"chosen\":\"[{\\\"name\\\": \\\"Ann\\\"}]\",\"rejected\":\"{'value': 3}\"}",
          "u:q>[{\"name\": \"Ann\"}]<{'value': 3}");
    refuses("{\"prompt\":\"q\",\"chosen\":\"[{'role': 'user', 'content': 'q'} ...]\",\"rejected\":\"y\"}",
            "a list of messages in a string that is neither JSON");
    /* an integer beyond 64 bits is no other one */
    refuses("{\"prompt\":\"q\",\"chosen\":\"[{'role': 'user', 'content': 'q', 'id': 18446744073709551615}, {'role': "
            "'assistant', 'content': 'x'}]\",\"rejected\":\"y\"}",
            "a list of messages in a string that is neither JSON");
    refuses("{\"prompt\":\"q\",\"chosen\":\"[{'role': 'assistant', 'content': 'x'}]\",\"rejected\":\"y\"}",
            "is a conversation in a string, and \"rejected\" is a text alone");
}

/* The same of answers in lists, and of a group's. */
static void answers_in_lists(void **state)
{
    gr_group g;
    static const char group[] = "{\"prompt\":\"q\",\"responses\":[\"{'role': 'assistant', 'content': 'x'}\",\"y\"]}";

    (void)state;
    reads("{\"prompt\":\"q\",\"completions\":[\"[{'role': 'assistant', 'content': 'x'}]\",\"y\"],\"ranks\":[1,2]}",
          "u:q>x<y");
    refuses("{\"prompt\":\"q\",\"completions\":[\"x\",\"\\n\\nHuman: q\\n\\nAssistant: y\"],\"ranks\":[1,2]}",
            "wanted an answer alone, found a transcript");
    refuses("{\"prompt\":\"q\",\"chosen\":[\"x\"],\"rejected\":[\"[INST] q [/INST] y\"]}", "turns marked [INST]");
    CHECK_OK(gr_group_parse("f", 1, group, sizeof group - 1, &g, &check_err));
    assert_string_equal(g.response[0], "x");
    gr_group_clear(&g);
}

static void transcripts(void **state)
{
    (void)state;
    reads("{\"prompt\":\"q\",\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: x\",\"rejected\":\"Human: q\\n\\nAssistant: y"
        "\"}", "u:q>x<y");
    reads("{\"prompt\":\"<extra_id_0>System\\nbe\\n<extra_id_1>User\\nq\\n\\n<extra_id_1>Assistant\\na\\n<extra_id_1>U"
        "ser\\nr"
          "\\n<extra_id_1>Assistant\\n\",\"chosen\":\"x\",\"rejected\":\"y\"}", "s:be|u:q\n|a:a|u:r>x<y");
    /* marks inside of a text are text */
    reads("{\"prompt\":\"What is <extra_id_1>?\",\"chosen\":\"x\\n<extra_id_1>User\\nz\",\"rejected\":\"y\\n\\nHuman: "
        "z\"}",
          "u:What is <extra_id_1>?>x\n<extra_id_1>User\nz<y\n\nHuman: z");
    refuses("{\"prompt\":\"p\",\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: x\",\"rejected\":\"\\n\\nHuman: q\\n\\nAssi"
        "stant: y\"}",
            "turn 1 is not the prompt's");
    refuses("{\"prompt\":\"q\",\"chosen\":\"\\n\\nHuman: q\\n\\nAssistant: x\",\"rejected\":\"y\"}", "is a conversatio"
        "n in a string");
    refuses("{\"prompt\":\"Human: q\",\"chosen\":\"x\",\"rejected\":\"y\"}", "begins with Human:");
    refuses("{\"prompt\":\"q\\n<extra_id_1>Cook\\na\",\"chosen\":\"x\",\"rejected\":\"y\"}", "a turn mark <extra_id_1>"
        " of \"Cook\"");
    refuses("{\"prompt\":\"Be good.\\n\\nHuman: q\\n\\nAssistant:\",\"chosen\":\"x\",\"rejected\":\"y\"}", "does not b"
        "egin with Human:");
    refuses("{\"prompt\":\"<|im_start|>user\\nq<|im_end|>\\n<|im_start|>assistant\\n\",\"chosen\":\"x\",\"rejected\":"
        "\"y\"}",
            "turns marked <|im_start|>");
    refuses("{\"prompt\":\"<s>[INST] q [/INST]\",\"chosen\":\"x\",\"rejected\":\"y\"}", "turns marked [INST]");
    refuses("{\"prompt\":\"### Human: q\\n### Assistant:\",\"chosen\":\"x\",\"rejected\":\"y\"}", "turns marked ### Hu"
        "man:");
    refuses("{\"prompt\":\"User: q\\nAssistant:\",\"chosen\":\"x\",\"rejected\":\"y\"}", "turns marked User:");
}

static void parts_of_a_question(void **state)
{
    (void)state;
    reads(ROW("\"context\":\"passage\""), "u:passage\n\nq>x<y");
    reads("{\"context\":\"q\",\"chosen\":\"x\",\"rejected\":\"y\"}", "u:q>x<y");
    reads("{\"context\":\"passage\",\"question\":\"see: passage, q\",\"chosen\":\"x\",\"rejected\":\"y\"}",
          "u:see: passage, q>x<y");
    reads(ROW("\"question\":\"q\",\"system\":\"be\",\"system_prompt\":\"be\""), "s:be|u:q>x<y");
    reads("{\"system\":\"be\",\"chosen\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\""
        "x\"}],\"rejected\":"
          "[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":\"y\"}]}", "s:be|u:q>x<y");
    refuses(ROW("\"system\":\"be\",\"system_prompt\":\"or not\""), "another system message");
    refuses("{\"system\":\"be\",\"chosen\":[{\"role\":\"system\",\"content\":\"so\"},{\"role\":\"user\",\"content\":\""
        "q\"},"
            "{\"role\":\"assistant\",\"content\":\"x\"}],\"rejected\":\"y\"}", "another system message");
    refuses(ROW("\"question\":\"another\""), "both \"prompt\" and \"question\" are there, and they differ");
    refuses(ROW("\"context\":[{\"role\":\"user\",\"content\":\"p\"},{\"role\":\"assistant\",\"content\":\"a\"}]"),
            "a \"context\" of messages");
    refuses(ROW("\"documents\":[{\"text\":\"d\"}]"), "key \"documents\"");
    refuses("{\"prompt\":[{\"role\":\"user\",\"content\":\"q\",\"images\":[\"cat.png\"]}],\"chosen\":\"x\","
            "\"rejected\":\"y\"}", "message 1: \"images\" belongs to it");
    refuses("{\"context\":\"passage\",\"prompt\":[{\"role\":\"user\",\"content\":\"p\"},{\"role\":\"assistant\",\"cont"
        "ent\":\"a\"},"
            "{\"role\":\"user\",\"content\":\"q\"}],\"chosen\":\"x\",\"rejected\":\"y\"}", "a text in \"context\"");
}

static const char *write_file(const char *text)
{
    static char path[300];
    FILE *f;

    snprintf(path, sizeof path, "%s/rows.jsonl", check_tmpdir());
    f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* The first row of a file with its columns named, as reads(); or the sentence. */
static void file_reads(const char *text, const char *columns, const char *want)
{
    gr_reader *r;
    gr_row got = { 0 };
    bool end = false;
    char is[1200];
    gram_status rc = gr_reader_open(&r, write_file(text), columns, &check_err);

    if (!rc) {
        rc = gr_reader_pair(r, &got, &end, &check_err);
        gr_reader_close(r);
    }
    if (rc)
        snprintf(is, sizeof is, "%d %s", rc, check_err.text);
    else
        snprintf(is, sizeof is, "u:%s>%s<%s", got.turn[0].content, got.chosen, got.rejected);
    gr_row_clear(&got);
    if (!strstr(is, want))
        fail_msg("%s with %s: %s, wanted %s", text, columns, is, want);
}

static void columns_by_other_names(void **state)
{
    static const char row_of[] = "{\"instruction\":\"no\",\"q\":{\"full.text\":\"n\",\"text\":\"q\"},\"good\":\"x\",\""
        "bad\":\"y\"}\n";

    (void)state;
    file_reads(row_of, "prompt=q.text,chosen=good,rejected=bad", "u:q>x<y");
    file_reads(ROW("\"z\":1"), "chosen=rejected,rejected=chosen", "u:q>y<x");
    file_reads(row_of, "prompt=q.txt,chosen=good,rejected=bad", "4 ");
    file_reads(row_of, "prompt=q.txt,chosen=good,rejected=bad", "no column \"q.txt\"");
    file_reads(row_of, "promt=q", "\"promt\" is no key that is read");
    file_reads(row_of, "prompt", "is no NAME=COLUMN");
    file_reads(row_of, "prompt=a,prompt=b", "is there twice");
    file_reads("{\"prompt\":\"q\",\"response_a\":\"x\",\"response_b\":\"y\",\"label\":0}\n", "better_response_id=label"
        "", "u:q>x<y");
    file_reads("{\"prompt\":\"q\",\"response_a\":\"x\",\"response_b\":\"y\",\"label\":0}\n", "first_is_better=label",
        "u:q>y<x");
}

/* The second row says what the first one's label means, before that is used. */
static void codes_are_those_of_the_whole_file(void **state)
{
#define LABELLED(label) "{\"prompt\":\"q\",\"response_a\":\"x\",\"response_b\":\"y\",\"label\":" label "}\n"
    (void)state;
    file_reads(LABELLED("1") LABELLED("2"), NULL, "u:q>x<y");
    file_reads(LABELLED("1") "{bad\n" LABELLED("0"), NULL, "3 ");
    file_reads(LABELLED("1") LABELLED("\"0\""), NULL, ":2: key \"label\" is 0, and 1 and 2 are read of it");
    file_reads("[" LABELLED("1") "," LABELLED("0") "]", NULL, "element 2: key \"label\" is 0");
    file_reads(LABELLED("1") LABELLED("9"), NULL, "u:q>x<y");
#undef LABELLED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_reads_does_no_harm),
        cmocka_unit_test(what_is_read_makes_a_bad_row),
        cmocka_unit_test(mending_is_linear),
        cmocka_unit_test(messages_in_strings),
        cmocka_unit_test(answers_in_lists),
        cmocka_unit_test(transcripts),
        cmocka_unit_test(parts_of_a_question),
        cmocka_unit_test(columns_by_other_names),
        cmocka_unit_test(codes_are_those_of_the_whole_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
