/* A program that uses the installed library and its port. */
#include <bluelm.h>
#include <bluelm_posix.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    bluelm_weights weights = {0};
    bluelm_info info;
    bluelm_error err;
    char text[160];
    if (argc != 2 || bluelm_posix_map(argv[1], &weights.llm, &weights.llm_bytes)) return 2;
    if (bluelm_describe(&weights, &info, &err) < 0) {
        bluelm_error_text(&err, text, sizeof text);
        puts(text);
        return 1;
    }
    printf("%s\n", info.architecture);
    return 0;
}
