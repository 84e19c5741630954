/* bar.c - see bar.h. */
#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "cli/bar.h"

enum { LEAST = 8, MOST = 30, GAP = 2 };         /* columns of the bar itself; between it and the words */

/* The bar and as many of the words as `columns` hold; the last one goes last. */
static void draw(char *out, size_t room, size_t columns, double share, const char *const *words, size_t n)
{
    size_t width = gr_max(LEAST, gr_min(MOST, columns > 70 ? columns - 70 : 0));
    size_t used = width + 2 + GAP + strlen(words[n - 1]), kept = 0, at = 0;
    size_t full = (size_t)(fmin(1, fmax(0, share)) * (double)width);

    while (kept + 1 < n && used + GAP + strlen(words[kept]) <= columns)
        used += GAP + strlen(words[kept++]);
    out[at++] = '[';
    for (size_t i = 0; i < width; i++)
        out[at++] = i < full ? '#' : '-';
    out[at++] = ']';
    out[at] = '\0';
    for (size_t i = 0; i <= kept; i++)
        at += (size_t)snprintf(out + at, room - at, "%*s%s", GAP, "", words[i < kept ? i : n - 1]);
}

static size_t columns_of_terminal(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col - 1u : 79;
}

void cli_bar_start(cli_bar *b)
{
    *b = (cli_bar){ .judging_took = 0 };
    cli_progress_start(&b->p, NULL, "steps");
}

void cli_bar_end(cli_bar *b)
{
    cli_progress_end(&b->p);
}

static void show(cli_bar *b, double share, const char *const *words, size_t n)
{
    char line[512];

    if (!b->p.terminal) {
        for (size_t i = 0; i < n; i++)
            fprintf(stderr, "%s%s", words[i], i + 1 < n ? ", " : "\n");
        return;
    }
    draw(line, sizeof line, columns_of_terminal(), share, words, n);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    b->p.drawn = true;
}

/* ---- Steps ---------------------------------------------------------------------------------------- */

/* Until the end: at the pace of this call, the held-out rows that are judged between in it, and those at the end. */
static double seconds_left(const cli_bar *b, const gram_train_step *s)
{
    if (s->step <= b->first)                /* the first: it may be slower than the others, and is all there is */
        return s->took * (double)(s->steps - s->step) + b->judging_took;
    return (s->seconds - b->first_at) / (double)(s->step - b->first) * (double)(s->steps - s->step) + b->judging_took;
}

static void remember(cli_bar *b, const gram_train_step *s)
{
    if (b->steps == 0) {
        b->first = s->step;
        b->first_at = s->seconds;
    }
    b->recent[b->steps++ % CLI_BAR_RECENT] = *s;
}

static void means(const cli_bar *b, double *loss, double *accuracy, double *speed)
{
    size_t n = gr_min(b->steps, CLI_BAR_RECENT);

    *loss = *accuracy = *speed = 0;
    for (size_t i = 0; i < n; i++) {
        *loss += b->recent[i].loss / (double)n;
        *accuracy += b->recent[i].accuracy / (double)n;         /* NAN in stage 1 */
        *speed += b->recent[i].tokens_per_s / (double)n;
    }
}

static void show_step(cli_bar *b, const gram_train_step *s)
{
    char word[6][48], left[24];
    const char *shown[6];
    double loss, accuracy, speed, eta = seconds_left(b, s);
    size_t n = 0;

    means(b, &loss, &accuracy, &speed);
    snprintf(word[n++], 48, b->p.terminal ? "%llu/%llu" : "step %llu of %llu", (unsigned long long)s->step,
             (unsigned long long)s->steps);
    snprintf(word[n++], 48, "loss %.3f", loss);
    if (!isnan(accuracy))
        snprintf(word[n++], 48, b->p.terminal ? "acc %.2f" : "accuracy %.2f", accuracy);
    snprintf(word[n++], 48, b->p.terminal ? "%.0f tok/s" : "%.0f tokens/s", speed);
    cli_clock(left, eta);
    snprintf(word[n++], 48, "%s left", left);
    for (size_t i = 0; i < n; i++)
        shown[i] = word[i];
    show(b, (double)s->step / (double)s->steps, shown, n);
}

int cli_bar_step(void *arg, const gram_train_step *s)
{
    cli_bar *b = arg;
    bool ten = s->step == 1 || s->step * 10 / s->steps != (s->step - 1) * 10 / s->steps;

    remember(b, s);
    b->judging_now = 0;
    if (!cli_quiet && (b->p.terminal || ten))
        show_step(b, s);
    return cli_stopping();
}

/* ---- Held-out rows and sentences ------------------------------------------------------------------ */

int cli_bar_judging(void *arg, uint64_t done, uint64_t total)
{
    cli_bar *b = arg;
    char word[48], left[24];
    const char *shown[] = { word, left };
    double now = gr_now(), spent;

    b->judging_at = done ? b->judging_at : now;
    spent = now - b->judging_at;
    if (done == total)                      /* one set after the other */
        b->judging_took = b->judging_now += spent;
    if (cli_quiet || (!b->p.terminal && done))
        return cli_stopping();
    if (b->p.terminal)
        snprintf(word, sizeof word, "judging %llu/%llu", (unsigned long long)done, (unsigned long long)total);
    else
        snprintf(word, sizeof word, "judging %llu held-out row%s", (unsigned long long)total,
                 total == 1 ? "" : "s");
    cli_clock(left, done ? spent / (double)done * (double)(total - done) : 0);
    strcat(left, " left");
    show(b, (double)done / (double)total, shown, done ? 2 : 1);
    return cli_stopping();
}

/* A line that stays, of the step whose weights were judged. */
void cli_bar_held(void *arg, const gram_train_held *h)
{
    cli_bar *b = arg;

    cli_clear_line(&b->p);
    if (cli_quiet)
        return;
    fprintf(stderr, "%s, %llu row%s, at step %llu: ", h->file, (unsigned long long)h->rows, h->rows == 1 ? "" : "s",
            (unsigned long long)h->step);
    if (!isnan(h->accuracy))
        fprintf(stderr, "accuracy %.3f, ", h->accuracy);
    fprintf(stderr, "loss %.4f%s\n", h->loss, h->best ? ", the best so far" : "");
}

void cli_bar_note(void *arg, const char *text)
{
    cli_bar *b = arg;
    char shown[2048];

    cli_clear_line(&b->p);
    if (!cli_quiet)
        fprintf(stderr, "%s\n", cli_dashes(text, shown, sizeof shown));
}
