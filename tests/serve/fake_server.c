/* fake_server.c - a server over fake.h until a line or the end of stdin, for tests in other languages and for load.
 * Prints its port. Arguments: [--log] [--key KEY] [--port N] [--model fake|head] */
#include <signal.h>
#include <stdio.h>
#include "fake.h"
#include "serve/serve.h"

int main(int argc, char **argv)
{
    gr_engine e = fake_engine("fake");
    gr_serve_options o = { .quiet = true };
    gr_serve *s;
    gram_err err;

    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--log"))
            o.quiet = false;
        else if (!strcmp(argv[i], "--key") && i + 1 < argc)
            o.key = argv[++i];
        else if (!strcmp(argv[i], "--port") && i + 1 < argc)
            o.port = (unsigned short)atoi(argv[++i]);
        else if (!strcmp(argv[i], "--model") && i + 1 < argc)
            e.path = argv[++i];
    }
    if (gr_serve_start(&s, &o, &e, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%u\n", gr_serve_port(s));
    fflush(stdout);
    while (getchar() != EOF)
        ;
    gr_serve_stop(s);
    return 0;
}
