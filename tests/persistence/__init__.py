"""Journals into databases."""
