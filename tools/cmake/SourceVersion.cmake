# Run at every build: writes what git calls the sources into OUT, and touches it only when that has
# changed. Empty where there is no git or no repository (an unpacked archive).
execute_process(COMMAND git describe --tags --always --dirty
                WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE described ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define ORRERY_SOURCE_VERSION \"${described}\"\n")
