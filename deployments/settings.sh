# Source this file in bash before calling pip or uv. It keeps the settings that select the sources of packages and the
# access to them, and clears all others, such as PIP_USER, PIP_TARGET and UV_SYSTEM_PYTHON, which would change what is
# installed, and where.
for name in "${!PIP_@}" "${!UV_@}"; do
    case $name in
        *INDEX* | *FIND_LINKS | *PROXY | *CERT* | *_HOST | *TLS* | *KEYRING* | *TIMEOUT | *RETRIES) ;;
        *CACHE* | *OFFLINE | *CONFIG_FILE | UV_CONCURRENT* | UV_LINK_MODE | UV_PYTHON*) ;;
        *) unset "$name" ;;
    esac
done
unset name VIRTUAL_ENV CONDA_PREFIX
export PIP_USER=0  # overrides pip's configuration file
