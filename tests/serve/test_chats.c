/* test_chats.c - a server over a tiny model: texts that come together, wait for memory, are begun anew and end by
 * length, by tokens and by stop strings have the bits that they have alone, beside pairs that are scored; one whose
 * logits are no numbers ends alone. */
#include <jansson.h>
#include "talk.h"
#include "api/api_int.h"
#include "letters.h"

static gr_write_counts counts;
static void (*close_model)(gr_engine *e);

/* The model is the first member of what engine.c keeps. */
static void close_and_count(gr_engine *e)
{
    gram_model *m = e->self ? *(gram_model **)e->self : NULL;

    if (m && m->chats)
        counts = gr_write_count(m->chats);
    close_model(e);
}

static void start_model(const char *dir, size_t text_bytes)
{
    gr_serve_options o = { .quiet = true, .name = "letters" };

    engine = (gr_engine){ .path = dir, .options = { .threads = 2, .text_bytes = text_bytes,
                                                    .judge_prompt = "{input}\n{response_a}\n{response_b}\n" } };
    gr_engine_libgram(&engine);
    close_model = engine.close;
    engine.close = close_and_count;
    counts = (gr_write_counts){ 0 };
    CHECK_OK(gr_serve_start(&server, &o, &engine, &check_err));
    WAIT_FOR(gr_serve_get_state(server, &check_err) == GR_SERVE_READY);
}

/* Not in chunks, and the connection ends behind the answer. */
static int ask_for(const char *path, const char *body)
{
    gr_buf b = { 0 };
    int fd = dial();

    assert_true(gr_buf_printf(&b, "POST %s HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                              "Content-Length: %zu\r\n\r\n%s", path, strlen(body), body));
    put(fd, b.p, b.n);
    gr_buf_clear(&b);
    return fd;
}

/* Adds what an answer, or an event of a stream, says of its choices. */
static void add_choices(gr_buf *to, const char *json, size_t n)
{
    json_t *j = json_loadb(json, n, 0, NULL);
    char *said = j ? json_dumps(json_object_get(j, "choices"), JSON_SORT_KEYS) : NULL;

    assert_non_null(said);
    assert_true(gr_buf_puts(to, said) && gr_buf_puts(to, "\n"));
    free(said);
    json_decref(j);
}

/* What came back on fd, which it closes; a list of pairs as it is. */
static char *hear(int fd, bool choices)
{
    static char raw_text[1 << 17];
    gr_buf all = { 0 }, out = { 0 };
    const char *body;
    ssize_t k;

    while ((k = recv(fd, raw_text, sizeof raw_text, 0)) > 0)
        assert_true(gr_buf_add(&all, raw_text, (size_t)k));
    close(fd);
    assert_int_equal(k, 0);
    body = all.n ? strstr(all.p, "\r\n\r\n") : NULL;
    if (!body || strncmp(all.p + 9, "200", 3))
        fail_msg("%s", all.n ? all.p : "no answer");
    body += 4;
    if (!choices)
        assert_true(gr_buf_puts(&out, strstr(body, "\"preference\"")));
    else if (*body == '{')
        add_choices(&out, body, strlen(body));
    for (const char *at = choices && *body != '{' ? body : NULL; at && (at = strstr(at, "data: {")); ) {
        add_choices(&out, at + 6, strcspn(at + 6, "\n"));
        at += 6;
    }
    gr_buf_clear(&all);
    return out.p;
}

#define TEXT(i) \
    "{\"prompt\":\"one two three and a word more " #i "\",\"max_tokens\":40,\"temperature\":0.9,\"seed\":" #i
static const struct { const char *path, *body; } asked[] = {
    { "/v1/completions", TEXT(1) ",\"logprobs\":2}" },
    { "/v1/completions", TEXT(2) ",\"stop\":[\"t\",\"Z\",\"b\"],\"logprobs\":0}" },
    { "/v1/completions", TEXT(3) ",\"stream\":true,\"logprobs\":1}" },
    { "/v1/completions", TEXT(1) ",\"n\":2}" },
    { "/v1/completions", TEXT(4) ",\"stop_token_ids\":[11,12,13,14],\"stream\":true}" },
    { "/v1/completions", TEXT(5) ",\"min_tokens\":40,\"stop\":\"qq\"}" },
    { "/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":30,"
                              "\"seed\":0,\"logprobs\":true}" },
    { "/v1/score", "{\"prompt\":\"is it longer\",\"a\":\"a word and a word and a word and a word and one more\","
                   "\"b\":\"the other is a word and one more of which there are some\"}" },
    { "/v1/score", "{\"prompt\":\"is it\",\"a\":\"abc abc abc abc abc\",\"b\":\"abc def ghi\"}" },
};

static void texts_together_have_the_bits_that_they_have_alone(void **state)
{
    enum { ASKED = sizeof asked / sizeof *asked, ROUNDS = 3 };
    char *alone[ASKED], *dir = check_tmpdir();
    size_t stopped = 0, cut = 0;

    (void)state;
    letters_model(dir);
    start_model(dir, 160 * 3 * 2 * 2 * 8 * sizeof(float));          /* five pages, of which a text takes three */
    for (size_t i = 0; i < ASKED; i++) {
        alone[i] = hear(ask_for(asked[i].path, asked[i].body), strcmp(asked[i].path, "/v1/score") != 0);
        stopped += strstr(alone[i], "\"stop\"") != NULL;
        cut += strstr(alone[i], "\"length\"") != NULL;
    }
    assert_true(stopped > 0 && cut > 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        int fd[ASKED];
        for (size_t i = 0; i < ASKED; i++)
            fd[(i + 2 * round) % ASKED] = ask_for(asked[(i + 2 * round) % ASKED].path,
                                                  asked[(i + 2 * round) % ASKED].body);
        for (size_t i = 0; i < ASKED; i++) {
            char *got = hear(fd[i], strcmp(asked[i].path, "/v1/score") != 0);
            assert_string_equal(got, alone[i]);
            free(got);
        }
    }
    stop(state);
    assert_true(counts.put_back > 0);       /* some had to wait again */
    for (size_t i = 0; i < ASKED; i++)
        free(alone[i]);
}

/* The letters with a head of its own, and with an embedding of token 60 that is no number. */
static void break_token(const char *dir)
{
    static unsigned char old[1 << 17];
    enum { ROW = 32 * 2, EMBED = 61 * ROW, BROKEN = 60 };
    char path[400], *head, *config;
    json_t *j, *c;
    gr_buf b = { 0 };
    uint64_t n;
    size_t all;
    FILE *f;

    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    f = fopen(path, "rb");
    assert_non_null(f);
    all = fread(old, 1, sizeof old, f);
    fclose(f);
    memcpy(&n, old, 8);
    j = json_loadb((char *)old + 8, n, 0, NULL);
    all -= 8 + n;                           /* embed_tokens is the first */
    json_object_set_new(j, "lm_head.weight", json_pack("{s:s, s:[i,i], s:[i,i]}", "dtype", "F16", "shape", 61, 32,
                                                       "data_offsets", (int)all, (int)all + EMBED));
    head = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    assert_true(gr_buf_printf(&b, "%s%*s", head, (int)(8 - strlen(head) % 8), ""));
    free(head);
    n = b.n;
    assert_true(gr_buf_add(&b, (char *)old + 8 + *(uint64_t *)(void *)old, all + EMBED));
    memcpy(b.p + n + all, b.p + n, EMBED);
    memset(b.p + n + BROKEN * ROW, 0x7f, ROW);
    f = fopen(path, "wb");
    assert_true(f && fwrite(&n, 8, 1, f) == 1 && fwrite(b.p, 1, b.n, f) == b.n && fclose(f) == 0);
    gr_buf_clear(&b);
    snprintf(path, sizeof path, "%s/config.json", dir);
    c = json_load_file(path, 0, NULL);
    json_object_set_new(c, "tie_word_embeddings", json_false());
    config = json_dumps(c, 0);
    letters_put(dir, "config.json", config, strlen(config));
    free(config);
    json_decref(c);
}

static void a_text_without_numbers_ends_alone(void **state)
{
    static const char whole[] = "{\"prompt\":[[10,11,12],[14,13]],\"max_tokens\":20,\"min_tokens\":20,\"logprobs\":1,"
                                "\"seed\":0}";
    static const char some[] = "{\"prompt\":[[10,11,12],[10,60,12],[14,13],[60]],\"max_tokens\":20,\"min_tokens\":20,"
                               "\"logprobs\":1,\"seed\":0}";
    static const char none[] = "{\"prompt\":[[60,11]],\"max_tokens\":20}";
    static const char streamed[] = "{\"prompt\":[[10,60,12],[14,13]],\"max_tokens\":3,\"min_tokens\":3,"
                                   "\"seed\":0,\"stream\":true}";
    char *dir = check_tmpdir(), *want, *got;
    json_t *w, *g;

    (void)state;
    letters_model(dir);
    break_token(dir);
    start_model(dir, (size_t)1 << 20);
    want = hear(ask_for("/v1/completions", whole), true);
    for (size_t round = 0; round < 2; round++) {            /* pages that held no numbers hold others' then */
        got = hear(ask_for("/v1/completions", some), true);
        w = json_loads(want, 0, NULL);
        g = json_loads(got, 0, NULL);
        assert_int_equal(json_array_size(g), 4);
        for (size_t i = 0; i < 4; i++) {
            json_t *one = json_array_get(g, i);
            if (i % 2) {
                assert_string_equal(json_string_value(json_object_get(one, "finish_reason")), "error");
                assert_non_null(strstr(json_string_value(json_object_get(json_object_get(one, "error"), "message")),
                                       "not a finite number"));
                continue;
            }
            json_object_set_new(one, "index", json_integer((json_int_t)i / 2));
            assert_true(json_equal(one, json_array_get(w, i / 2)));
        }
        json_decref(w);
        json_decref(g);
        free(got);
    }
    got = hear(ask_for("/v1/completions", streamed), true);
    assert_non_null(strstr(got, "\"error\""));
    assert_non_null(strstr(got, "\"length\""));
    free(got);
    assert_int_equal(one("/v1/completions", "", none), 500);
    assert_non_null(strstr(text, "not a finite number"));
    got = hear(ask_for("/v1/completions", whole), true);
    assert_string_equal(got, want);
    free(got);
    free(want);
    stop(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(texts_together_have_the_bits_that_they_have_alone, stop),
        cmocka_unit_test_teardown(a_text_without_numbers_ends_alone, stop),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
