// Before anything is painted: the theme that was chosen here last.
(function () {
  const chosen = localStorage.getItem("sense-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
